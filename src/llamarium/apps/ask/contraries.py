"""Words that exclude each other where one stands in the place of the other: more, less; thick, thin; 左, 右.

Takes: nothing.
Gives: pairs for English and Chinese (simplified), a bar between the two sides.
Does not know: stems, texts. What excludes each other wherever it stands (to allow, to forbid) is in `kinds`.
"""

from __future__ import annotations

CONTRARIES_ENGLISH = """
more | less fewer
most | least fewest
higher | lower
high | low
upper | lower
larger bigger greater | smaller
large big | small
longer | shorter
long | short
wider broader | narrower
wide broad | narrow
thick thicker | thin thinner
tall taller | short shorter
deep deeper | shallow shallower
heavy heavier | light lighter
loose | tight
left | right
inside indoors | outside outdoors
inner internal | outer external
front | rear back
top | bottom
above | below beneath underneath
over | under
north northern | south southern
east eastern | west western
first | last
early earlier | late later
before | after
older oldest elder | younger youngest
old | new
ancient | modern
fast faster quick quicker | slow slower
hot hotter warm warmer | cold colder cool cooler
dry drier | wet wetter
hard harder | soft softer
rough | smooth
strong stronger | weak weaker
bright | dark dim
loud | quiet
open | closed
full | empty
public | private
permanent | temporary
optional voluntary | compulsory mandatory obligatory
free | paid
rich wealthy | poor
male | female
single unmarried | married
adult | child
even | odd
positive | negative
maximum | minimum
majority | minority
everything all | nothing none
everyone everybody | nobody
always | never
often frequently | seldom rarely
with | without
same identical | different
similar alike | unlike different
right correct | wrong incorrect
true | false
safe | dangerous unsafe
guilty | innocent
success successful successfully | failure unsuccessful unsuccessfully
victory won | defeat lost
profit | loss
income | expenditure
import imported | export exported
buy bought | sell sold
lend lent | borrow borrowed
arrive arrived | depart departed
enter entered | leave left
appear appeared | vanish vanished disappear disappeared
increase increased rise rose grew | decrease decreased fall fell shrank
strengthen | weaken
widen | narrow
raise raised | lower lowered
push | pull
attach attached | detach detached
lock locked | unlock unlocked
enable enabled | disable disabled
install installed | uninstall uninstalled
switch_on turn_on turned_on | switch_off turn_off turned_off
add added | remove removed subtract
include included including | exclude excluded excluding
accept accepted | reject rejected
approve approved | veto vetoed
support supported | oppose opposed
praise praised | criticise criticised criticize criticized
love loved | hate hated
remember remembered | forget forgot forgotten
build built | demolish demolished
create created found founded | abolish abolished dissolve dissolved
open opened | close closed
hire hired appoint appointed | dismiss dismissed fire fired
acquit acquitted | convict convicted
win | lose
allow allowed permit permitted | forbid forbidden prohibit prohibited
ascending | descending
clockwise | anticlockwise counterclockwise
horizontal horizontally | vertical vertically
forwards forward | backwards backward
upstream | downstream
uphill | downhill
summer | winter
day daytime | night
day | night
alive living | dead
raw | cooked
fresh | stale
edible | poisonous
wild | domestic domesticated tame
native | foreign
urban | rural
original | copy
"""

CONTRARIES_CHINESE = """
左 | 右
左侧 左边 左手 | 右侧 右边 右手
上升 上涨 上调 提高 增加 增长 增多 变长 延长 | 下降 下跌 下调 降低 减少 缩短 变短
更多 较多 | 更少 较少
最多 最高 最大 最长 最早 最老 最古老 | 最少 最低 最小 最短 最晚 最年轻
更高 较高 高于 | 更低 较低 低于
更大 较大 大于 | 更小 较小 小于
更长 | 更短
更早 早于 提前 | 更晚 晚于 推迟 延后
更快 | 更慢
更重 | 更轻
更远 | 更近
快 | 慢
厚 | 薄
粗 | 细
宽 | 窄
深 | 浅
轻 | 重
松 | 紧
软 | 硬
冷 | 热
干燥 | 潮湿
上游 | 下游
上层 上部 上方 | 下层 下部 下方
上半年 | 下半年
前者 | 后者
前面 前方 | 后面 后方
内部 里面 | 外部 外面
室内 | 室外 户外
国内 | 国外 海外
省内 市内 | 省外 市外
以前 之前 | 以后 之后
首次 第一次 | 末次 最后一次
开始 启用 开放 开馆 开业 | 结束 停用 关闭 闭馆 停业
打开 开启 | 关闭 关上
进入 入场 入馆 | 离开 退场 出馆
免费 不收费 免票 | 收费 付费 买票 购票
公开 | 秘密 保密
公立 国立 公办 | 私立 民办
必须 应当 | 不必 无须
允许 准许 可以 | 禁止 不准 不得
自愿 | 强制
支持 赞成 同意 | 反对 拒绝
通过 | 否决
批准 | 驳回
承认 | 否认
肯定 | 否定
成功 | 失败
胜利 获胜 战胜 击败 | 失利 落败 战败
赢 | 输
盈利 | 亏损
收入 | 支出
进口 | 出口
买入 购买 | 卖出 出售 卖掉
借入 | 借出
出发 启程 | 到达 抵达
上车 登机 | 下车 下机
安装 | 拆除 卸载
连接 | 断开
登录 | 退出
增加 添加 | 删除 去掉
保留 留下 | 删除 去除 丢弃
聘用 任命 录用 | 解雇 免职 辞退
上任 就任 | 卸任 离任
成立 创办 建立 | 解散 撤销 停办
建成 修建 | 拆除 拆毁
结婚 | 离婚
出生 | 去世 逝世
年长 较年长 | 年幼 较年幼
新 | 旧
古代 | 现代
全部 所有 | 部分
多数 大多数 | 少数
单数 奇数 | 双数 偶数
正序 升序 | 倒序 降序
顺时针 | 逆时针
横向 水平 | 纵向 垂直
正面 | 反面 背面
优点 | 缺点
安全 | 危险
有毒 | 无毒
有效 | 无效
合法 | 非法 违法
正常 | 异常
相同 一样 | 不同
经常 常常 | 很少 极少
容易 | 困难
简单 | 复杂
便宜 | 昂贵
富裕 | 贫穷
男性 男子 | 女性 女子
雄性 雄虫 雄鸟 | 雌性 雌虫 雌鸟
成年 成人 | 未成年 儿童
城市 | 农村 乡村
白天 | 夜间 夜里 晚上
上午 | 下午
夏季 夏天 | 冬季 冬天
南坡 | 北坡
南岸 | 北岸
东岸 | 西岸
长子 | 次子 幼子
正职 | 副职
主场 | 客场
"""
