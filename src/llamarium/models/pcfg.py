"""A grammar as a language model: how probable each next word is, over all trees that a sentence so far may become.

Takes: documents as ids, to fit; rules with probabilities; token ids (B, T) and a `Context`, to predict.
Gives: logits (B, T, V) that are log-probabilities; log2 p of each id of a document; the best tree of a sentence; sentences by chance.
Does not know: text, tokenizers, files.

A text is sentences, each a tree of the start symbol (number 0), each followed by one of the ids `Config.ends`; after it the next one
begins, whatever came before. So the probability of the next word is P(prefix word …) / P(prefix …), both of this sentence alone
(Jelinek and Lafferty 1991; Stolcke 1995, cmp-lg/9411029), and that of an end P(sentence) / P(prefix …), shared among `ends` as they
occurred. It is mixed with a small share of the words' own frequencies, and where no tree begins with the prefix, or the sentence is
longer than `longest`, those frequencies are all there is: no id is ever impossible.

Rules are A -> B C, A -> B and A -> word; longer ones are taken apart (`from_grammar`) and shown whole again. With I(A; i, j) the
probability that A becomes the words i … j-1, and U = 1 + A->B + (A->B)² + … = (1 - unit rules)⁻¹,

    I(A; i, j) = Σ_B U(A, B) · (p(B -> word i), or Σ_{C, D, k} p(B -> C D) · I(C; i, k) · I(D; k, j))      (Baker 1979)

All numbers of a span (i, j) are kept divided by the largest of them, whose logarithm is its scale: nothing underflows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llamarium.ground import progress
from llamarium.ground.errors import UsageError
from llamarium.models import model
from llamarium.models.model import Context, Document
from llamarium.tokens.grammar import Grammar, Rule, Tree

MAX_SYMBOLS = 512
MAX_FITTED = 128  # symbols of a grammar that is fitted from nothing: their cube is two million rules
BATCH_NUMBERS = 1 << 22  # of a table over some sentences: 32 MB
NONE = -1  # in the place of a symbol or a word that a rule has not
TRIES = 1000  # at a sentence that is not too long

Sentences = Counter[tuple[int, ...]]
Nodes = list[tuple[int, list[int]]]  # of a tree: a symbol, and the numbers of its children, or NONE - word


@dataclass(frozen=True)
class Config:
    """A number of `symbols`, perhaps with `names`; `ends` are the ids after which a new sentence begins.

    `ends` hold what stands before a text, too, where that is another token. `smoothing` is the share of the words' own frequencies.
    A grammar that is fitted from nothing begins at random with `seed`, and is bettered `iterations` times.
    """

    vocab_size: int
    symbols: int = 16
    names: tuple[str, ...] = ()
    ends: tuple[int, ...] = (0,)
    longest: int = 256
    smoothing: float = 1e-3
    iterations: int = 20
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.vocab_size <= 2**31:
            raise ValueError(f"vocab_size must be from 1 to {2**31:,}, not {self.vocab_size}")
        if not 1 <= self.symbols <= MAX_SYMBOLS:
            raise ValueError(f"symbols must be from 1 to {MAX_SYMBOLS}, not {self.symbols}")
        if self.names and (len(self.names) != self.symbols or len(set(self.names)) != self.symbols):
            raise ValueError(f"names must be {self.symbols} different ones, as symbols says")
        if self.names and _names_helper(self.names[0]):
            raise ValueError(f"names begin with {self.names[0]!r}, which cannot be the start's")
        if not self.ends or len(set(self.ends)) != len(self.ends) or not all(0 <= end < self.vocab_size for end in self.ends):
            raise ValueError(f"ends must be different ids from 0 to {self.vocab_size - 1}, at least one, not {self.ends}")
        if not 1 <= self.longest <= 1024:
            raise ValueError(f"longest must be from 1 to 1024, not {self.longest}")
        if not 0 < self.smoothing < 1:
            raise ValueError(f"smoothing must be between 0 and 1, not {self.smoothing}")
        if not 0 <= self.iterations <= 100_000:
            raise ValueError(f"iterations must be from 0 to 100,000, not {self.iterations}")

    @property
    def context_length(self) -> None:
        """None: a text has no limit, for only its present sentence is looked at."""
        return None

    def num_parameters(self) -> int:
        """Number of rules of a grammar that is fitted from nothing to text with all ids."""
        return self.symbols**3 + self.symbols * self.vocab_size

    @classmethod
    def sized(cls, num_parameters: float, *, vocab_size: int, context_length: int) -> Config:  # noqa: ARG003  a text has no limit
        """The config with about `num_parameters` rules."""
        shapes = (cls(vocab_size, symbols) for symbols in range(1, MAX_FITTED + 1))
        best = min(shapes, key=lambda shape: abs(math.log(shape.num_parameters() / num_parameters)))
        if not num_parameters / 2 <= best.num_parameters() <= num_parameters * 2:
            raise ValueError(f"no shape has about {num_parameters:,.0f} rules")
        return best


@dataclass(frozen=True)
class Parse:
    """The most probable tree of a sentence, and log2 of its probability."""

    tree: Tree
    log2_prob: float


@dataclass(frozen=True)
class _Product:
    """A table over two of a binary rule's three symbols, summed to its third: for all rules at once.

    `pairs` (2, P) are the pairs that occur in rules, `number` (R) says which is each rule's, `matrix` (P, K) are the probabilities.
    """

    pairs: Tensor
    number: Tensor
    matrix: Tensor

    @classmethod
    def of(cls, one_R: Tensor, other_R: Tensor, target_R: Tensor, weights_R: Tensor, *, symbols: int) -> _Product:
        codes, number = torch.unique(one_R * symbols + other_R, return_inverse=True)
        matrix = weights_R.new_zeros(len(codes), symbols).index_put((number, target_R), weights_R)
        return cls(torch.stack([codes // symbols, codes % symbols]), number, matrix)

    def over(self, one_NIDK: Tensor, other_NIDK: Tensor, scale_NID: Tensor) -> tuple[Tensor, Tensor]:
        """Σ_d one(·, first) · other(·, second) · e^scale for each pair, as values (N, I, P) and their scales (N, I)."""
        top = scale_NID.amax(-1)
        share = (scale_NID - top.nan_to_num(neginf=0)[..., None]).exp()
        first, second = self.pairs
        if 8 * len(first) < one_NIDK.shape[-1] ** 2:
            return torch.einsum("nid,nidp,nidp->nip", share, one_NIDK[..., first], other_NIDK[..., second]), top
        return ((one_NIDK * share[..., None]).transpose(-1, -2) @ other_NIDK)[..., first, second], top


@dataclass(frozen=True)
class _Rules:
    """The rules in the forms that the sums need."""

    weights: Tensor  # (R) the buffer that they were made from
    is_binary: Tensor  # (R) which rules have which form
    is_unit: Tensor
    is_word: Tensor
    words: Tensor  # (K, V) p(A -> word)
    units: Tensor  # (K, K) p(A -> B)
    closure: Tensor  # (K, K) U: how often A is B, by any number of unit rules
    corners: Tensor  # (K, K) L: the same where B may also be the left one of two
    parent: _Product  # of left and right
    left: _Product  # of parent and right
    right: _Product  # of parent and left

    @classmethod
    def of(cls, rules_R3: Tensor, weights_R: Tensor, *, symbols: int, vocab_size: int) -> _Rules:
        above, first, second = rules_R3.unbind(1)
        word, unit = first == NONE, (first != NONE) & (second == NONE)
        binary = ~word & ~unit
        zeros = weights_R.new_zeros(symbols, symbols)
        units = zeros.index_put((above[unit], first[unit]), weights_R[unit])
        corners = units.index_put((above[binary], first[binary]), weights_R[binary], accumulate=True)
        words = weights_R.new_zeros(symbols, vocab_size).index_put((above[word], second[word]), weights_R[word])
        one = torch.eye(symbols, dtype=weights_R.dtype, device=weights_R.device)
        a, b, c, w = above[binary], first[binary], second[binary], weights_R[binary]
        return cls(
            weights_R,
            binary,
            unit,
            word,
            words,
            units,
            torch.linalg.inv(one - units),
            torch.linalg.inv(one - corners),
            _Product.of(b, c, a, w, symbols=symbols),
            _Product.of(a, c, b, w, symbols=symbols),
            _Product.of(a, b, c, w, symbols=symbols),
        )


class Model(model.Fitted):
    """Rules and their probabilities; 1 / V for each id before there are any.

    ``rules`` (R, 3) are (A, B, C) for A -> B C, (A, B, -1) for A -> B, (A, -1, id) for A -> word; ``weights`` (R) their
    probabilities. ``frequencies`` (V) are those of the words and ends, ``shares`` (E) those of the ends among themselves, ``empty`` ()
    is how often a sentence has no word at all, as between two ends.

    >>> grammar = Grammar((Rule("S", ("S", "S"), 0.25), Rule("S", (1,), 0.75)))
    >>> model = Model.from_grammar(grammar, vocab_size=2)
    >>> round(2 ** model.log2_sentence([1, 1]), 6)    # 0.25 · 0.75 · 0.75
    0.140625
    """

    KIND = "grammar"
    rules: Tensor
    weights: Tensor
    frequencies: Tensor
    shares: Tensor
    empty: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList()
        self._made: _Rules | None = None
        num_ends = len(config.ends)
        self.register_buffer("rules", torch.empty(0, 3, dtype=torch.int64))
        self.register_buffer("weights", torch.empty(0, dtype=torch.float64))
        self.register_buffer("frequencies", torch.full((config.vocab_size,), 1 / config.vocab_size, dtype=torch.float64))
        self.register_buffer("shares", torch.full((num_ends,), 1 / num_ends, dtype=torch.float64))
        self.register_buffer("empty", torch.zeros((), dtype=torch.float64))

    # --- from a grammar, and back ---

    @classmethod
    def from_grammar(cls, grammar: Grammar, *, vocab_size: int, ends: tuple[int, ...] = (0,), **options: Any) -> Model:
        """The model of a grammar; `options` are other fields of `Config`. All words are as frequent until it is fitted.

        A right side of more than two becomes its first and a helper that becomes the rest, "B C D" -> B "C D"; a word beside something
        else gets a helper that becomes just it. `UsageError` for an id that is not in the vocabulary or ends sentences.
        """
        names = list(grammar.symbols)
        number = {name: place for place, name in enumerate(names)}
        rows: list[tuple[int, int, int]] = []
        helpers: list[tuple[int, tuple[int, int, int]]] = []  # with how many parts each becomes

        def symbol(parts: tuple[str | int, ...]) -> int:
            """The symbol that becomes `parts` and nothing else."""
            if len(parts) == 1 and isinstance(parts[0], str):
                return number[parts[0]]
            name = " ".join(part if isinstance(part, str) else f"<{part}>" for part in parts)
            if name not in number:
                number[name] = len(names)
                names.append(name)
                helpers.append((len(parts), (number[name], *became(parts))))
            return number[name]

        def became(parts: tuple[str | int, ...]) -> tuple[int, int]:
            if len(parts) > 1:
                return symbol(parts[:1]), symbol(parts[1:])
            return (number[parts[0]], NONE) if isinstance(parts[0], str) else (NONE, parts[0])

        for rule in grammar.rules:
            for part in rule.right:
                if isinstance(part, int) and (not 0 <= part < vocab_size or part in ends):
                    why = "ends a sentence" if part in ends else f"is not in the vocabulary of {vocab_size:,}"
                    raise UsageError(f"The word {part} of {rule.left} {why}.", hint="The end of a sentence is not part of its tree.")
            rows.append((number[rule.left], *became(rule.right)))
        if len(names) > MAX_SYMBOLS:
            raise UsageError(
                f"The grammar has {len(names):,} symbols, those for parts of its longer rules included; {MAX_SYMBOLS} are possible.",
                hint="A vocabulary in which words are whole needs fewer.",
            )
        made = cls(Config(vocab_size, symbols=len(names), names=tuple(names), ends=ends, **options))
        rows += [row for _, row in sorted(helpers, reverse=True)]  # a helper's parts come after it
        made.rules = torch.tensor(rows)
        made.weights = torch.tensor([rule.weight for rule in grammar.rules] + [1.0] * len(helpers), dtype=torch.float64)
        if wrong := _fault(made.rules, made.weights, made.config):
            raise UsageError(f"The grammar's {wrong}.", hint="Give those that come to an end more weight.")
        return made

    def grammar(self) -> Grammar:
        """The grammar, without helpers. `UsageError` before there is one."""
        if not len(self.rules):
            raise UsageError("The grammar has no rules yet.", hint="Fit it to text, or make it from_grammar.")
        whole: dict[int, tuple[str | int, ...]] = {}  # what each helper becomes; the rules of its parts come after its own
        found = []
        for (left, first, second), weight in reversed(list(zip(self.rules.tolist(), self.weights.tolist(), strict=True))):
            if first == NONE:
                right: tuple[str | int, ...] = (second,)
            else:
                right = tuple(part for each in (first, second) if each != NONE for part in whole.get(each, (self._name(each),)))
            if self._is_helper(left):
                whole[left] = right
            else:
                found.append(Rule(self._name(left), right, weight))
        return Grammar(tuple(reversed(found)))

    def _name(self, symbol: int) -> str:
        return self.config.names[symbol] if self.config.names else f"N{symbol}" if symbol else "S"

    def _is_helper(self, symbol: int) -> bool:
        return _names_helper(self._name(symbol))

    # --- fitted to text ---

    def fit(self, documents: Iterable[Document]) -> None:
        """Learn words' frequencies and rules from `documents`, in place of whatever was learnt before.

        Without names of symbols all rules over them are possible, and begin at random; a grammar that was given is bettered from
        where it stands. Sentences longer than `longest` teach only frequencies.
        """
        texts = [self._ids(document) for document in documents]
        if not (self.config.names and len(self.rules)):
            self._draw({word for sentence in self._count(texts) for word in sentence})
        self.reestimate(texts, iterations=self.config.iterations)

    def reestimate(self, documents: Iterable[Document], *, iterations: int = 1) -> list[float]:
        """Better the probabilities of the rules there are; log2 of that of all sentences before each time, which never falls.

        A rule becomes as probable as its expected frequency among those of its left side, over all trees of all sentences: EM by
        inside and outside probabilities (Baker 1979, doi:10.1121/1.2017061; Lari and Young 1990, doi:10.1016/0885-2308(90)90022-X).
        A sentence without a tree teaches only words' frequencies.
        """
        sentences = self._count([self._ids(document) for document in documents])
        found = []
        with progress.task("inside and outside", iterations) as work:
            for iteration in range(iterations if sentences and len(self.rules) else 0):
                counts_R, log2, without = self._expected(sentences)
                if without and not iteration:
                    progress.say(f"{without:,} of {sentences.total():,} sentences have no tree and teach the grammar nothing.")
                found.append(log2)
                totals_R = counts_R.new_zeros(self.config.symbols).index_add(0, self.rules[:, 0], counts_R)[self.rules[:, 0]]
                # A symbol of no sentence stays as it is.
                self.weights = torch.where(totals_R > 0, counts_R / totals_R.clamp(min=torch.finfo(torch.float64).tiny), self.weights)
                work.advance(note=f"{-log2 / (sum(len(each) * n for each, n in sentences.items())):.3f} bits a word")
        return found

    def _count(self, documents: list[NDArray[np.int64]]) -> Sentences:
        """The sentences of `documents` and how often each occurs; frequencies of words and ends are learnt on the way."""
        device, V = self.rules.device, self.config.vocab_size
        counts = np.bincount(np.concatenate([np.empty(0, np.int64), *documents]), minlength=V) + 1.0
        self.frequencies = torch.from_numpy(counts / counts.sum()).to(device)
        ends = counts[list(self.config.ends)]
        self.shares = torch.from_numpy(ends / ends.sum()).to(device)
        if counts.sum() == V:  # there was no text: as before there was any
            self.frequencies, self.shares = (torch.full_like(each, 1 / len(each)) for each in (self.frequencies, self.shares))
        sentences: Sentences = Counter()
        empty = 0
        for ids in documents:
            for first, last in self._sentences(ids, np.zeros(len(ids), dtype=bool)):
                if last > first:
                    sentences[tuple(ids[first:last].tolist())] += 1
                else:  # what stands before a text or after it is none
                    empty += 0 < first < len(ids)
        self.empty = torch.tensor(empty / (empty + sentences.total() + 1), dtype=torch.float64, device=device)
        return Counter({words: n for words, n in sentences.items() if len(words) <= self.config.longest})

    def _draw(self, words: set[int]) -> None:
        """All rules over the symbols and `words`, their probabilities at random; fewer than half of them make two of one."""
        K = self.config.symbols
        if K > MAX_FITTED:
            raise UsageError(f"A grammar that is fitted from nothing has at most {MAX_FITTED} symbols, not {K}.", hint="Set fewer symbols.")
        every, some = torch.arange(K), torch.tensor(sorted(words), dtype=torch.int64)
        generator = torch.Generator().manual_seed(self.config.seed)
        rules, weights = [], []
        # A tree grows for ever where each symbol makes more than one other.
        for right, share in ((torch.cartesian_prod(every, every), 0.4), (torch.stack([torch.full_like(some, NONE), some], 1), 0.6)):
            rules.append(torch.cat([every.repeat_interleave(len(right))[:, None], right.repeat(K, 1)], 1))
            drawn = torch.empty(K, len(right), dtype=torch.float64).exponential_(generator=generator)
            weights.append((share * drawn / drawn.sum(1, keepdim=True)).flatten())
        keep = slice(None) if words else slice(0)
        self.rules = torch.cat(rules)[keep].to(self.rules.device)
        self.weights = torch.cat(weights)[keep].to(self.rules.device)

    def _expected(self, sentences: Sentences) -> tuple[Tensor, float, int]:
        """How often each rule is used in all trees of `sentences`, each as much as it is probable: (R,).

        Besides, log2 of the probability of all that have a tree, and how many have none.
        """
        of, device = self._rules_of(), self.rules.device
        two_KP, one_KK, words_KV = (torch.zeros_like(each) for each in (of.parent.matrix.T, of.units, of.words))
        texts = list(sentences)
        log2, without = 0.0, 0
        for numbers in self._batches([len(text) for text in texts]):
            ids_NT, lengths_N = self._table([texts[number] for number in numbers])
            times_N = torch.tensor([sentences[texts[number]] for number in numbers], dtype=torch.float64, device=device)
            inside, scale = self._inside(ids_NT)
            rows = torch.arange(len(numbers), device=device)
            log_N = scale[rows, 0, lengths_N] + inside[rows, 0, lengths_N, 0].log()
            parsed = log_N > -math.inf
            log2 += float((log_N * times_N)[parsed].sum()) / math.log(2)
            without += int(times_N[~parsed].sum())

            # From here on `above` says how often a symbol's tree stands there for each unit of what is inside of it.
            outside, above = self._outside(inside, scale, lengths_N)
            above = above + torch.where(parsed, times_N.log() - log_N, -math.inf)[:, None, None]
            for length in range(2, ids_NT.shape[1] + 1):
                starts = torch.arange(ids_NT.shape[1] - length + 1, device=device)
                y_NIP, top_NI = of.parent.over(*self._halves(inside, scale, length))
                times_NI = _exp(above[:, starts, starts + length] + top_NI)
                two_KP += (outside[:, starts, starts + length] * times_NI[..., None]).flatten(0, 1).T @ y_NIP.flatten(0, 1)
            if of.is_unit.any():
                one_KK += (outside * _exp(above + scale)[..., None]).flatten(0, 2).T @ inside.flatten(0, 2)
            places = torch.arange(ids_NT.shape[1], device=device)
            times_NT = _exp(above[:, places, places + 1])
            words_KV.index_add_(1, ids_NT.flatten(), (outside[:, places, places + 1] * times_NT[..., None]).flatten(0, 1).T)
        counts_R = torch.zeros_like(self.weights)
        left, first, second = self.rules.unbind(1)
        counts_R[of.is_binary] = two_KP[left[of.is_binary], of.parent.number]
        counts_R[of.is_unit] = one_KK[left[of.is_unit], first[of.is_unit]]
        counts_R[of.is_word] = words_KV[left[of.is_word], second[of.is_word]]
        return counts_R * self.weights, log2, without

    def _outside(self, inside: Tensor, scale: Tensor, lengths_N: Tensor) -> tuple[Tensor, Tensor]:
        """How probable it is that the sentence stands around each symbol at each span, in the form of `_inside`'s result.

        O(B; i, j) = Σ_A U(A, B) · (Σ_{C, D, l} p(C -> A D) · O(C; i, l) · I(D; j, l) + Σ_{C, D, h} p(C -> D A) · O(C; h, j) · I(D; h, i)),

        and 1 more in the brackets for A the start and the whole sentence.
        """
        of = self._rules_of()
        outside, above = torch.zeros_like(inside), torch.full_like(scale, -math.inf)
        N, T = len(inside), inside.shape[1] - 1
        for length in range(T, 0, -1):
            starts = torch.arange(T - length + 1, device=inside.device)
            ends = starts + length
            x_NIK = inside.new_zeros(N, len(starts), inside.shape[-1])
            top_NI = scale.new_full((N, len(starts)), -math.inf)
            x_NIK[lengths_N == length, 0, 0], top_NI[lengths_N == length, 0] = 1, 0
            if length < T:
                more = torch.arange(1, T - length + 1, device=inside.device)
                first, last = starts[:, None] - more, ends[:, None] + more  # of what is above, to the left and to the right
                here, there, far = starts[:, None], ends[:, None], last.clamp(max=T)
                y_NIP, other_NI = of.left.over(
                    outside[:, here, far], inside[:, there, far], _where(last <= T, above[:, here, far] + scale[:, there, far])
                )
                x_NIK, top_NI = _added(x_NIK, top_NI, y_NIP @ of.left.matrix, other_NI)
                far = first.clamp(min=0)
                y_NIP, other_NI = of.right.over(
                    outside[:, far, there], inside[:, far, here], _where(first >= 0, above[:, far, there] + scale[:, far, here])
                )
                x_NIK, top_NI = _added(x_NIK, top_NI, y_NIP @ of.right.matrix, other_NI)
            outside[:, starts, ends], above[:, starts, ends] = _scaled(x_NIK @ of.closure, top_NI)
        return outside, above

    # --- how probable ---

    def forward(self, ids_BT: Tensor, context: Context) -> Tensor:
        """Natural log-probabilities of the next id after each position: float32 (B, T, V).

        Of the context it uses the positions, which say where a document starts, and the state: the ids of the present sentence.
        """
        self._check(ids_BT)
        T = ids_BT.shape[1]
        earlier = context.state(0)
        ids_BS = ids_BT if earlier is None else torch.cat([earlier, ids_BT], dim=1)
        starts_BS = torch.zeros_like(ids_BS, dtype=torch.bool)
        starts_BS[:, -T:] = context.positions_BT == 0
        next_BSK, stop_BS, present = self._after(ids_BS, starts_BS)
        context.store(0, ids_BS[:, ids_BS.shape[1] - present :])
        of, share = self._rules_of(), self.config.smoothing
        p_BTV = next_BSK[:, -T:] @ of.words
        p_BTV[..., list(self.config.ends)] += stop_BS[:, -T:, None] * self.shares
        parsed_BT = p_BTV.sum(-1, keepdim=True) > 0.5  # it is 1 or 0
        p_BTV = torch.where(parsed_BT, (1 - share) * p_BTV + share * self.frequencies, self.frequencies)
        return p_BTV.log_().float()

    def log2_prob(self, document: Document) -> NDArray[np.float64]:
        """log2 p of each id of a document given those before it: (T,). The first is given nothing.

        What stands before a text is best one of `ends`: then what follows is the beginning of a sentence.
        """
        ids = torch.from_numpy(self._ids(document)).to(self.rules.device)
        if not len(ids):
            return np.empty(0)
        of, share = self._rules_of(), self.config.smoothing
        next_BSK, stop_BS, _ = self._after(ids[None], torch.zeros_like(ids, dtype=torch.bool)[None])
        first_K, empty = self._beginning()
        next_TK, stop_T = torch.cat([first_K[None], next_BSK[0, :-1]]), torch.cat([empty[None], stop_BS[0, :-1]])
        shares_V = torch.zeros_like(self.frequencies).index_put((torch.tensor(self.config.ends, device=ids.device),), self.shares)
        p_T = (next_TK * of.words[:, ids].T).sum(1) + stop_T * shares_V[ids]
        parsed_T = next_TK @ of.words.sum(1) + stop_T > 0.5
        p_T = torch.where(parsed_T, (1 - share) * p_T + share * self.frequencies[ids], self.frequencies[ids])
        result: NDArray[np.float64] = p_T.log2().cpu().numpy()
        return result

    def log2_sentence(self, sentence: Document) -> float:
        """log2 of the probability of one sentence, without its end and without smoothing; -inf where it has no tree."""
        words = self._words(sentence)
        if not words or not len(self.rules):
            return -math.inf
        inside, scale = self._inside(self._table([words])[0])
        return float(scale[0, 0, -1] + inside[0, 0, -1, 0].log()) / math.log(2)

    def _inside(self, ids_NT: Tensor) -> tuple[Tensor, Tensor]:
        """I(A; i, j) of the module's docstring for all spans, as values (N, T + 1, T + 1, K) and scales (N, T + 1, T + 1)."""
        of = self._rules_of()
        N, T = ids_NT.shape
        inside = of.words.new_zeros(N, T + 1, T + 1, self.config.symbols)
        scale = of.words.new_full((N, T + 1, T + 1), -math.inf)
        for length in range(1, T + 1):
            starts = torch.arange(T - length + 1, device=ids_NT.device)
            if length == 1:
                x_NIK, top_NI = of.words.T[ids_NT], scale.new_zeros(N, T)
            else:
                y_NIP, top_NI = of.parent.over(*self._halves(inside, scale, length))
                x_NIK = y_NIP @ of.parent.matrix
            inside[:, starts, starts + length], scale[:, starts, starts + length] = _scaled(x_NIK @ of.closure.T, top_NI)
        return inside, scale

    def _halves(self, inside: Tensor, scale: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
        """All ways to cut each span of a length in two: the left ones, the right ones (N, I, D, K), their scales together."""
        starts = torch.arange(inside.shape[1] - length, device=inside.device)[:, None]
        middles, ends = starts + torch.arange(1, length, device=inside.device), starts + length
        return inside[:, starts, middles], inside[:, middles, ends], scale[:, starts, middles] + scale[:, middles, ends]

    def _prefixes(self, ids_NT: Tensor) -> tuple[Tensor, Tensor]:
        """After 0 … T words: how probable each symbol is to be the one that becomes the next word (N, T + 1, K), and the end (N, T + 1).

        G(B; i), how often a B begins at i after the words before it, is to outside probabilities as a prefix to a sentence: what
        will stand to the right does not matter. With L all ways down a left edge, `corners_KK`,

            G(B; t) = Σ_E L(E, B) · Σ_{A, D, i} G(A; i) · p(A -> D E) · I(D; i, t)
        """
        of = self._rules_of()
        N, T = ids_NT.shape
        inside, scale = self._inside(ids_NT)
        begun = inside.new_zeros(N, T + 1, self.config.symbols)
        height = scale.new_full((N, T + 1), -math.inf)
        found, stop = torch.zeros_like(begun), torch.zeros_like(height)
        begun[:, 0], height[:, 0] = _scaled(of.corners[0].expand(N, -1), height.new_zeros(N))
        found[:, 0], stop[:, 0] = self._beginning()
        for t in range(1, T + 1):
            scales = (height[:, :t] + scale[:, :t, t])[:, None]
            y_NIP, top_NI = of.right.over(begun[:, None, :t], inside[:, None, :t, t], scales)
            open_NK, top_N = (y_NIP @ of.right.matrix)[:, 0], top_NI[:, 0]
            done_N = scale[:, 0, t] + inside[:, 0, t, 0].log()
            all_N = torch.logaddexp(top_N + open_NK.sum(1).log(), done_N).nan_to_num(neginf=0)
            begun[:, t], height[:, t] = _scaled(open_NK @ of.corners, top_N)
            found[:, t] = begun[:, t] * (height[:, t] - all_N).exp()[:, None]
            stop[:, t] = (done_N - all_N).exp()
        return found, stop

    def _beginning(self) -> tuple[Tensor, Tensor]:
        """How probable each symbol is to become the first word of a sentence (K,), and that there is none (); 0 without rules."""
        there = bool(len(self.rules))
        return self._rules_of().corners[0] * (1 - self.empty) * there, self.empty * there

    def _after(self, ids_BS: Tensor, starts_BS: Tensor) -> tuple[Tensor, Tensor, int]:
        """`_prefixes` after each position, (B, S, K) and (B, S), and how many of the last ids are all that the next ones can see."""
        device = ids_BS.device
        next_BSK = self.frequencies.new_zeros(*ids_BS.shape, self.config.symbols)
        stop_BS = self.frequencies.new_zeros(ids_BS.shape)
        over_BS = torch.isin(ids_BS, torch.tensor(self.config.ends, device=device))
        next_BSK[over_BS], stop_BS[over_BS] = self._beginning()
        ids, starts = ids_BS.cpu().numpy(), starts_BS.cpu().numpy()
        pieces, present = [], 0
        for row in range(len(ids)):
            first = last = 0
            for first, last in self._sentences(ids[row], starts[row]):
                if last > first:
                    pieces.append((row, first, min(last, first + self.config.longest)))
            present = max(present, last - first)
        if len(self.rules):
            for numbers in self._batches([last - first for _, first, last in pieces]):
                some = [pieces[number] for number in numbers]
                found, stop = self._prefixes(self._table([ids[row, first:last] for row, first, last in some])[0])
                for number, (row, first, last) in enumerate(some):
                    next_BSK[row, first:last] = found[number, 1 : last - first + 1]
                    stop_BS[row, first:last] = stop[number, 1 : last - first + 1]
        return next_BSK, stop_BS, min(present, self.config.longest + 1)

    def _sentences(self, ids: NDArray[np.int64], starts: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
        """First word and place after the last of each sentence, empty ones included; the last one goes on to the end of `ids`."""
        over = np.isin(ids, self.config.ends)
        first = 0
        for place in np.flatnonzero(over | starts).tolist():
            if starts[place]:
                yield first, place
                first = place
            if over[place]:
                yield first, place
                first = place + 1
        yield first, len(ids)

    # --- trees ---

    def parse(self, sentence: Document) -> Parse | None:
        """The most probable tree of one sentence, with or without its end (Viterbi); None where it has none."""
        words = self._words(sentence)
        if not words or not len(self.rules):
            return None
        of, T = self._rules_of(), len(words)
        chain_KK, step_KK = _chains(of.units.log())
        left, first, second = (column[of.is_binary] for column in self.rules.unbind(1))
        one, two = of.parent.pairs
        log_R = self.weights[of.is_binary].log()
        # The best below each symbol that begins with a word or with two symbols, and the best of all.
        plain = log_R.new_full((T + 1, T + 1, self.config.symbols), -math.inf)
        best = plain.clone()
        for length in range(1, T + 1):
            for start in range(T - length + 1):
                end = start + length
                if length == 1:
                    plain[start, end] = of.words[:, words[start]].log()
                else:
                    middles = torch.arange(start + 1, end, device=plain.device)
                    pairs_P = (best[start, middles][:, one] + best[middles, end][:, two]).amax(0)
                    plain[start, end].scatter_reduce_(0, left, pairs_P[of.parent.number] + log_R, "amax")
                best[start, end] = (chain_KK + plain[start, end]).amax(1) if of.is_unit.any() else plain[start, end]
        score = float(best[0, T, 0])
        if score == -math.inf:
            return None

        nodes: Nodes = [(0, [])]
        todo = [(0, 0, T)]
        while todo:
            number, start, end = todo.pop()
            symbol = nodes[number][0]
            bottom = int((chain_KK[symbol] + plain[start, end]).argmax())
            while symbol != bottom:
                symbol = int(step_KK[symbol, bottom])
                number = _grown(nodes, number, symbol)
            if end - start == 1:
                nodes[number][1].append(NONE - words[start])
                continue
            middles = torch.arange(start + 1, end, device=plain.device)
            mine = (left == bottom).nonzero()[:, 0]
            scores = best[start, middles][:, first[mine]] + best[middles, end][:, second[mine]] + log_R[mine]
            place, which = divmod(int(scores.argmax()), len(mine))
            middle, rule = start + 1 + place, int(mine[which])
            todo.append((_grown(nodes, number, int(first[rule])), start, middle))
            todo.append((_grown(nodes, number, int(second[rule])), middle, end))
        return Parse(self._tree(nodes), score / math.log(2))

    def sample_tree(self, generator: torch.Generator | None = None) -> Tree:
        """A tree by chance, each as probable as the grammar says, among those of at most `longest` words.

        `UsageError` before there are rules, and where the grammar makes hardly any so short.
        """
        if not len(self.rules):
            raise UsageError("The grammar has no rules yet.", hint="Fit it to text, or make it from_grammar.")
        rules, weights = self.rules.tolist(), self.weights.cpu()
        numbers: dict[int, list[int]] = {}
        for number, (left, _, _) in enumerate(rules):
            numbers.setdefault(left, []).append(number)
        for _ in range(TRIES):
            nodes: Nodes = [(0, [])]
            todo, words = [0], 0
            while todo and words + len(todo) <= self.config.longest and len(nodes) <= 8 * self.config.longest:
                node = todo.pop()
                mine = numbers[nodes[node][0]]
                _, first, second = rules[mine[int(torch.multinomial(weights[mine], 1, generator=generator))]]
                if first == NONE:
                    nodes[node][1].append(NONE - second)
                    words += 1
                else:
                    todo += [_grown(nodes, node, symbol) for symbol in (first, second) if symbol != NONE]
            if not todo and words <= self.config.longest:
                return self._tree(nodes)
        raise UsageError(
            f"In {TRIES:,} tries the grammar made no sentence of at most {self.config.longest} words.",
            hint="Give its rules that come to an end more weight.",
        )

    def _tree(self, nodes: Nodes) -> Tree:
        """The tree of the first of `nodes`; in the place of helpers stands what they became."""
        whole: dict[int, tuple[Tree | int, ...]] = {}
        for number in reversed(range(len(nodes))):  # children have higher numbers
            symbol, children = nodes[number]
            below = tuple(part for child in children for part in (whole.pop(child) if child >= 0 else (NONE - child,)))
            whole[number] = below if self._is_helper(symbol) else (Tree(self._name(symbol), below),)
        (tree,) = whole[0]
        assert isinstance(tree, Tree), "the start is no helper"
        return tree

    # --- ids and tables ---

    def _rules_of(self) -> _Rules:
        if self._made is None or self._made.weights is not self.weights:
            self._made = _Rules.of(self.rules, self.weights, symbols=self.config.symbols, vocab_size=self.config.vocab_size)
        return self._made

    def _ids(self, document: Document) -> NDArray[np.int64]:
        values = np.asarray(document)
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise ValueError(f"a document is a list of ids, not {type(document).__name__} of {values.dtype} {values.shape}")
        ids = values.astype(np.int64)
        self._check(torch.from_numpy(ids))
        return ids

    def _check(self, ids: Tensor) -> None:
        if ids.numel() and not (ids.min() >= 0 and ids.max() < self.config.vocab_size):
            raise ValueError(f"ids must be from 0 to {self.config.vocab_size - 1}; these are from {ids.min()} to {ids.max()}")

    def _words(self, sentence: Document) -> list[int]:
        """The ids of one sentence without its end; `ValueError` where it is longer than `longest`."""
        words: list[int] = self._ids(sentence).tolist()
        words = words[:-1] if words and words[-1] in self.config.ends else words
        if len(words) > self.config.longest:
            raise ValueError(f"a sentence has at most {self.config.longest} words, not {len(words)}")
        return words

    def _table(self, sentences: Iterable[Iterable[int]]) -> tuple[Tensor, Tensor]:
        """Sentences as rows (N, T), the shorter ones filled up with anything, and their lengths."""
        rows = [torch.tensor(list(sentence)) for sentence in sentences]
        table = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return table.to(self.rules.device), torch.tensor([len(row) for row in rows], device=self.rules.device)

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Numbers of sentences of about the same length whose tables fit into memory together."""
        K, P = self.config.symbols, self._rules_of().parent.pairs.shape[1]

        def numbers_of(length: int) -> int:
            numbers: int = (length + 1) * (length + 1) * (K + (P // 4 if 8 * P < K * K else 0)) + length * K * K
            return numbers

        batch: list[int] = []
        for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
            longest = lengths[batch[0]] if batch else 0
            if batch and (2 * lengths[number] < longest or (len(batch) + 1) * numbers_of(longest) > BATCH_NUMBERS):
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        """Take any number of rules, and refuse those that are no grammar."""
        names = ("rules", "weights", "frequencies", "shares", "empty")
        if all(prefix + name in state_dict for name in names):  # super says what is missing
            rules, weights, frequencies, shares, empty = (state_dict[prefix + name] for name in names)
            if wrong := _fault(rules, weights, self.config) or _unlikely(frequencies, shares, empty, self.config):
                error_msgs: list[str] = others[-1]
                error_msgs.append(f"{prefix}{wrong}.")
                return
            for name in names:
                setattr(self, name, getattr(self, name).new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *others)


def _names_helper(name: str) -> bool:
    """Whether a symbol stands for a part of a longer rule; no grammar that was written has such names."""
    return " " in name or name.startswith("<")


def _grown(nodes: Nodes, parent: int, symbol: int) -> int:
    """The number of a new last child of `parent`."""
    nodes.append((symbol, []))
    nodes[parent][1].append(len(nodes) - 1)
    return len(nodes) - 1


def _scaled(x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """x · e^scale with the largest of the last dimension of x being 1, where it is not 0."""
    peak = x.amax(-1)
    return x / torch.where(peak > 0, peak, 1.0)[..., None], scale + peak.log()


def _added(x: Tensor, scale: Tensor, y: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """x · e^scale + y · e^other, again with a scale."""
    top = torch.maximum(scale, other)
    finite = top.nan_to_num(neginf=0)
    return x * (scale - finite).exp()[..., None] + y * (other - finite).exp()[..., None], top


def _where(there: Tensor, scale: Tensor) -> Tensor:
    return torch.where(there, scale, -math.inf)


def _exp(log: Tensor) -> Tensor:
    """e^log, and no infinity: that times a 0 is none."""
    return log.clamp(max=700).exp()


def _chains(units_KK: Tensor) -> tuple[Tensor, Tensor]:
    """log p of the best way from each symbol to each by unit rules, none included, and its first step (Floyd 1962)."""
    K = len(units_KK)
    best = units_KK.clone().fill_diagonal_(0)
    step = torch.arange(K, device=best.device).repeat(K, 1)
    for middle in (units_KK > -math.inf).any(0).nonzero()[:, 0].tolist():
        through = best[:, middle, None] + best[middle]
        step = torch.where(through > best, step[:, middle, None], step)
        best = torch.maximum(best, through)
    return best, step


def _fault(rules: Tensor, weights: Tensor, config: Config) -> str:
    """What is wrong with loaded rules, or nothing."""
    K = config.symbols
    if rules.dtype != torch.int64 or weights.dtype != torch.float64:
        return f"rules and weights are not a grammar: int64 and float64 were expected, not {rules.dtype} and {weights.dtype}"
    if rules.ndim != 2 or rules.shape[1] != 3 or weights.shape != rules.shape[:1]:
        return f"rules and weights are not a grammar: their shapes are {tuple(rules.shape)} and {tuple(weights.shape)}"
    if not len(rules):
        return ""
    left, first, second = rules.unbind(1)
    limit = torch.where(first == NONE, config.vocab_size, K)
    lowest = torch.where(first == NONE, 0, NONE)
    if not ((left >= 0) & (left < K) & (first >= NONE) & (first < K) & (second >= lowest) & (second < limit)).all():
        return f"rules name what is not among {K} symbols and {config.vocab_size:,} ids"
    if len(torch.unique(rules, dim=0)) != len(rules):
        return "rules hold one twice"
    totals = weights.new_zeros(K).index_add(0, left, weights)
    used = torch.zeros(K, dtype=torch.bool, device=rules.device)
    used[torch.cat([left, first[first != NONE], second[(first != NONE) & (second != NONE)], left.new_zeros(1)])] = True
    if not ((weights >= 0).all() and ((totals[used] - 1).abs() < 1e-6).all()):
        return "weights are not the probabilities of all symbols of the rules"
    finite = torch.zeros(K + 1, dtype=torch.bool, device=rules.device)
    finite[NONE] = True  # what is not there asks for nothing
    below = torch.where(first == NONE, NONE, second)
    for _ in range(K):
        finite[left[finite[first] & finite[below] & (weights > 0)]] = True
    if not finite[:K][used].all():
        return "rules have symbols that never come to an end in words"
    try:
        made = _Rules.of(rules, weights, symbols=K, vocab_size=config.vocab_size)
    except RuntimeError:  # a matrix that has no inverse
        return "rules have symbols that all but never come to an end in words"
    if not (made.corners.isfinite().all() and made.closure.isfinite().all()):
        return "rules have symbols that all but never come to an end in words"
    return ""


def _unlikely(frequencies: Tensor, shares: Tensor, empty: Tensor, config: Config) -> str:
    """What is wrong with loaded frequencies, or nothing."""
    for name, values, size in (("frequencies", frequencies, config.vocab_size), ("shares", shares, len(config.ends))):
        if values.dtype != torch.float64 or values.shape != (size,):
            return f"{name} must be {size:,} numbers of float64, not {tuple(values.shape)} of {values.dtype}"
        if not ((values > 0).all() and abs(float(values.sum()) - 1) < 1e-6):
            return f"{name} must be positive and sum to 1"
    if empty.dtype != torch.float64 or empty.shape != () or not 0 <= float(empty) < 1:
        return "empty must be one float64 from 0 to below 1"
    return ""


TINY = Config(vocab_size=16, symbols=4, ends=(0, 7, 10), iterations=5)
