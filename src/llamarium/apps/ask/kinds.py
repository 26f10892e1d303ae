"""What is known of words: which mean the same, which exclude each other, which turn a sentence round.

Takes: nothing.
Gives: word lists for English and Chinese (simplified), as the verifier compares with them.
Does not know: stems, texts. The lists are of everyday words, and short: what they lack costs a paraphrase, seldom a lie.
"""

from __future__ import annotations

# ruff: noqa: E501  a line is a group of words

# Words of one line say the same, or so nearly that a faithful sentence may take one for the other. "_" joins words.
SAME_ENGLISH = """
allow permit permission welcome can may able could might suitable
must should need needs require required necessary have_to has_to had_to obliged ought essential
begin start commence open launch onset
end finish stop conclude close cease over complete
buy purchase acquire bought
sell sold sale
cost price fee charge pay paid fare expense expensive due rate bill
money cash fund funds sum amount
big large great huge
small little tiny low
quick fast rapid quickly soon immediately once instantly at_once
make made produce build built construct create manufacture maker manufacturer put_up
put place set lay laid stand
get receive obtain gain given have got
give hand gave provide supply offer
send ship dispatch post mail deliver delivery deliveries
show display exhibit indicate
tell told say said inform report notify state announce declare
ask request enquire inquire
answer reply respond response
help assist aid support
use used using employ utilise utilize usage
keep kept retain hold held store stored preserve save
take took remove taken take_out take_off deduct subtract away
change alter modify replace replaced swap switch exchange
repair fix mend fixed
clean wash rinse cleaned wipe
leave left depart departure quit
arrive come came reach arrival
go goes went travel run walk move moved ride trip journey
visit visitor guest tourist traveller
live dwell reside stay lived home
die died death dead killed kill perish lost_life
marry married wife husband spouse wed
child children kid kids
teach taught teacher instruct lecture
learn study student pupil learned
work worker job employee staff employer labour working
boss manager head chief leader lead led director run_by
car vehicle automobile
house home building
shop store
near close nearby beside next
far distant
year annual annually yearly years
month monthly
week weekly
day daily days
every each all any per everyone everybody whoever anyone anybody
fortnight fortnightly two_weeks
error mistake fault wrong incorrect
right correct
break broke broken damage damaged destroy destroyed ruin
fall drop fell decrease decline sink lower
rise increase grow rose raise climb higher
find found discover locate spot
look see watch view seen looked visible
think believe consider opinion view thought
write wrote written author record writer
read reader
picture image photo photograph photographs
city town
street road
river stream
rain rainfall
warm hot heat heated
cold cool chilly
wet damp moist
dark darker
picture painting
doctor physician
money-back refund reimburse paid_back repay pay_back returned
free gratis no_charge without_charge free_of_charge nothing
holiday leave vacation
meeting session
vote voted ballot
rule regulation law
choose select pick pick_out
join joined combine merge unite merged
split divide separate
member membership
contract agreement
sign signature signed
sick ill unwell illness
old former earlier previous previously formerly past
new newest latest recent
first initially original originally
last final finally
whole entire full complete
part portion piece share
only just sole merely solely
about roughly approximately around some nearly almost circa
often frequently usually normally generally
during throughout
because since as reason owing due_to thanks_to so therefore why
although though but however yet despite
if when whenever once unless provided condition
until till before
with using by_means_of
more_than over above exceed exceeding longer_than higher_than beyond stronger larger bigger greater higher
less_than under below fewer_than shorter_than lower_than
at_most no_more_often_than not_more_often_than no_more_than not_more_than up_to maximum at_the_most as_many_as as_much_as no_longer_than limit limited max or_less or_fewer
at_least no_fewer_than no_less_than not_less_than minimum at_the_least or_more
before prior ahead earlier advance in_advance beforehand
after later afterwards following subsequently then since
protect guard shield
danger hazard risk dangerous harmful
safe harmless
alcohol drink drunk
eat food meal consume eaten
tree wood timber wooden
steal stole stolen theft taken
owner own owned belongs
cover covered include included apply valid warranty guarantee
apply application request
register registration enrol
refer call named called name known
boat ship vessel
bicycle bike cycle
plane flight aircraft fly flown
railway train rail
telephone phone
computer laptop machine
e-mail email mail
speak talk discuss spoke
win won award prize victory
lose lost loss
carry carried bear bring brought
throw thrown cast
cut shorten trim
mix stir blend
pour poured tip
wait waiting
sleep slept
heal cure treat treatment
grow grew raised
try tried attempt test trial
pull_down demolish tear_down torn_down demolished
paint painted
draw drawn design designed designer
look_after care maintain responsible in_charge handle handled
happen occur occurred took_place take_place
agree agreed consent approval approve approved
doubt question
gather collect collected
choose elect elected
later subsequent
rest other others remaining remainder
hard difficult
easy simple
yearly annually
people person persons individual human humans
man men
woman women
result outcome
plan planned intend intended
cause caused lead due
spare replacement
ban prohibit
total altogether in_total
harbour port
strong force
half fifty_percent
freeze froze frozen
wear wore worn
eat ate eaten
steal stole stolen
wake woke woken
shake shook shaken
ride rode ridden
swim swam swum
sing sang sung song
drive drove driven driver
fly flew flown flight
know knew known
see saw seen sight
sell sold sale
think thought
catch caught
hang hung
hide hid hidden
bite bit bitten
spend spent
bind bound
fight fought
hurt injure injured wound wounded
burn burnt burned
dig dug
bend bent
feed fed
strike struck stricken
stick stuck
rent hire lease let rented hired
lend lent borrow borrowed loan
appoint appointed name named
found establish established founded
wage pay salary earnings
measure measured measurement gauge
"""

# Words of one kind: each excludes the others, so one that the passage does not have is another thing.
KINDS_ENGLISH = """
red blue green yellow black white brown grey gray orange purple pink violet silver golden
january february march april may june july august september october november december
monday tuesday wednesday thursday friday saturday sunday
spring summer autumn winter
north south east west northern southern eastern western north-east north-west south-east south-west
morning noon afternoon evening night midnight
iron steel copper brass bronze tin lead zinc gold silver aluminium aluminum nickel mercury
wood stone brick concrete glass plastic rubber paper leather ceramic marble clay
oak pine birch beech larch maple cherry walnut spruce fir ash elm willow bamboo
cotton wool silk linen felt nylon velvet
cat dog horse cow pig sheep goat hen duck goose rabbit mouse rat fox wolf bear deer
bee wasp spider ant fly beetle moth butterfly mosquito mite slug snail aphid
eagle owl hawk crow gull swan tern sparrow
salmon trout herring cod eel tuna
apple pear plum peach cherry grape orange lemon banana raspberry strawberry
potato carrot onion cabbage bean pea tomato cucumber lettuce spinach pumpkin sunflower
bread cake cheese butter milk egg meat fish rice soup honey jam
tea coffee wine beer juice water milk cider
salt sugar pepper vinegar oil
wheat rye barley oats maize
baker butcher tailor carpenter smith fisherman farmer doctor nurse teacher lawyer engineer postman miller vet chemist architect painter sailor soldier priest librarian journalist dentist plumber electrician
father mother brother sister son daughter uncle aunt cousin nephew niece grandfather grandmother neighbour
head arm leg hand foot ankle knee shoulder elbow wrist eye ear nose finger back neck
car bus train tram ship boat bicycle plane taxi ferry lorry motorcycle
house church school hospital library museum theatre hotel hostel bakery brewery factory shop station castle temple mill
kitchen bathroom bedroom cellar attic garage balcony garden
cap hat scarf coat glove shoe boot sock shirt jacket
knife fork spoon cup plate bowl jar bottle
table chair bed shelf desk lamp
piano violin guitar flute trumpet organ drum accordion cello harp
english french german spanish italian portuguese russian chinese japanese korean arabic dutch polish swedish estonian
france germany spain italy portugal russia china japan korea canada brazil india england ireland scotland norway sweden denmark finland poland estonia austria switzerland greece turkey egypt mexico
millimetre centimetre metre kilometre mile inch foot
gram kilogram ton pound
celsius fahrenheit kelvin
euro dollar pound crown franc yen yuan mark
king queen prince princess duke emperor
sun moon star
hill mountain valley river lake sea island forest desert
fire flood storm earthquake
oxygen hydrogen nitrogen carbon chlorine sulphur
rope chain wire
snow rain hail fog
"""

# Left and right of "|" turn each other round: saying one with a negation is saying the other.
OPPOSITES_ENGLISH = """
allow permit may welcome | forbid ban prohibit bar outlaw disallow
accept agree approve grant accepted | refuse decline reject deny turn_down refused
include cover contain | exclude omit leave_out
more_than above exceed higher longer at_least minimum no_less_than no_fewer_than | less_than below shorter lower at_most fewer_than no_more_than not_more_than up_to maximum or_less or_fewer
before | after
increase rise raise grow | decrease fall reduce shrink
open | shut close
remember | forget
pass | fail
possible | impossible
able | unable
legal lawful permitted | illegal unlawful
necessary needed required | unnecessary needless
suitable fit | unsuitable unfit
likely | unlikely
safe harmless | dangerous harmful unsafe poisonous
known | unknown
paid | unpaid
like love | dislike hate
keep retain | discard
easy | hard difficult
early | late
present | absent
win won | lose lost
begin start | end stop finish
gain | lose
enough | insufficient
valid | invalid
always | never
agree | disagree
win | lose
succeed | fail
visible | invisible
complete | incomplete
appear | disappear
connect | disconnect
most best | least worst
cheap | expensive
"""

NEGATIONS_ENGLISH = (
    "not no never none nor neither nobody nothing nowhere without cannot cant dont doesnt didnt isnt arent wasnt werent wont "
    "wouldnt shouldnt couldnt mustnt hasnt havent hadnt neednt mightnt hardly"
)

# Words after which a sentence may say yes where the passage says no, and the other way round.
EXCUSES_ENGLISH = (
    "unless except only until till instead free close closed end stop lose lost fail miss lack out too rather otherwise other "
    "avoid block blocked prevent prevented off away outside taken remove removed remain empty exception else anymore void enough fine penalty sole solely alone just before after save over once"
)

# Too general to be what a sentence is about.
GENERIC_ENGLISH = (
    "thing way one ones person people place time case kind sort part number example use do did done get got make made take took go went "
    "put give have become became want wish like well still even already yet now today here there main certain several many much some "
    "long short good bad new old first last next own same different able such very quite really simply actually according based "
    "about around within during against among along across toward towards per via upon onto etc someone anyone everyone something "
    "anything everything whose whoever whatever whichever writer author text passage document story maker company whole full up "
    "down away back off over further again together however therefore thus hence also besides moreover either neither "
    "stay remain keep stand lie sit turn come let allow cause lead mean seem appear happen set allow find found"
)

SAME_CHINESE = """
可以 可 能 能够 允许 准许 准 许 许可 得以 行 会 适合 适用 让
必须 须 要 需 需要 应 应当 应该 得 务必 必要
使用 用 采用 拿 运用 利用
购买 买 采购 选购 购
出售 卖 销售 售 出卖
更换 换 替换 换新 改 改成 改为 改用 调换
修理 维修 修 修复 检修 整修 修好
寄 寄出 发货 邮寄 送 寄送 发出 送达
找 联系 咨询 联络 写信 打电话 告诉 通知 告知 报备 报告 说 称 讲 表示
每 每个 每次 各 一个 每隔 一 单
每天 一天 每日 天天 一日 日
每年 一年 年年 全年 年度
每月 一月 月月 一个月
大约 约 左右 大概 大致 上下 差不多 近 将近 需
不超过 最多 至多 不多于 不得超过 上限 为限 不高于 不得高于 不能超过 不能多于 不可超过 以内 之内 以下 内 不得多于 最高 最长
至少 最少 不少于 不低于 起码 以上 不得少于 满 往上 最低
超过 多于 高于 大于 超出 逾 以上 多
少于 低于 小于 不足 不满 未满 以下 不到
之前 以前 前 提前 提早 事先 预先 先 此前 早
之后 以后 后 过后 事后 此后 随后 后来 从此 自从 再
开始 起 开 启动 着手
结束 完 完成 结尾 终止 收
离开 走 搬走 搬离 退租 离
支付 付 付款 交 缴 缴纳 出 花 掏 花费 收 收取 交纳
费用 钱 价钱 价格 租金 票价 收费 费
免费 不收费 不要钱 免收 不用钱 白
退还 退回 归还 返还 退 还
赔偿 赔 赔付 补偿
同意 批准 通过 许可 首肯 点头 答应 认可 核准 经
拒绝 不同意 不肯 谢绝 否决 反对 驳回
禁止 不准 不许 严禁 不得 不可 不能 不可以 不允许 禁 勿 请勿 不要 别 不让
取消 作废 失效 无效
丢失 丢 遗失 丢掉 失去 损失
创办 创立 开 办 建立 成立 开办 创建
建 造 建造 修建 修筑 建成 盖 筑
设计 绘制 画
设计者 设计师
负责 管 主管 管理 掌管 受理 担任 带领
喜欢 看重 爱 偏爱
学习 学 念 读 读书
教 教书 任教 讲课
孩子 儿童 小孩 小朋友 幼儿
父亲 爸爸 爹
母亲 妈妈 娘
妻子 老婆 太太 夫人
丈夫 老公 先生
祖父 爷爷
祖母 奶奶
外祖母 外婆 姥姥
外祖父 外公 姥爷
老师 教师 先生
学生 学徒 徒弟 弟子
师父 师傅
因为 由于 因 是因为 缘于
所以 因此 因而 于是 故
如果 若 要是 的话 一旦 凡 凡是 假如 倘若 时
但 但是 不过 可是 却 然而 而
只 只有 仅 仅仅 唯一 才 光 单 唯独
全部 所有 都 全 一律 整个 均 一概
其余 余下 剩下 其他 别的 其它
有 拥有 具有 含 含有 包括 带 附带 设
没有 没 无 未 未曾 并无 不存在
死 死亡 遇难 去世 丧生 身亡 送命 死掉
受伤 伤 伤人
出现 有了 产生 发生 出
损坏 坏 毁坏 破损
清洗 洗 冲洗 擦洗 擦 擦拭 清理 打扫 洗刷
存放 放 搁 保存 存 放置 摆 贮存 保管 保留 留
加热 烧 煮 烧开 煮沸
打开 开启 开 拉开
关闭 关 关门 停业
停止 停 停做 停用 暂停
申请 报名 提出
投诉 申诉 告状 抱怨 异议 不服
回复 答复 回音 回答 答
检查 核对 审核 看
批评 检讨
增加 提高 上涨 涨 上升 延长 扩大
减少 降低 下降 降 缩短 省 节省 减
雨天 下雨天 下雨
速度 快慢
开会 会议 会上 大会
决定 定 定下 选定 认定
参加 加入 参选 参与 出席
获得 得 得到 得过 获 拿到 荣获 赢得
位于 在 设在 坐落
来自 出自 从 由 自 来
制作 做 制造 做成 制
叫 称为 名叫 名为 叫做 命名
时间 时候 时刻
地方 地点 处
东西 物品
人 人员 者
工人 职工 员工 雇员
大家 众人 人们
晚上 夜里 夜间 晚间 夜 晚
早晨 早上 清晨 早
下午 午后
中午 正午
今年 本年
明年 次年 来年 第二年 翌年
去年 上年
国外 境外 海外 出国
度假 休假 假期 放假 年假
公司 企业 厂家
价 价格
手机 电话
自行车 单车
汽车 车 车辆 轿车
船 船只
楼 楼房
房屋 房子 屋
屋里 室内 屋内 房内
门口 门前
住 居住 住宿 入住 睡
吃 食用 喂
喝 饮 饮用
抽烟 吸烟
喝酒 饮酒 酒后
害怕 怕 担心
帮助 帮 协助
独自 单独 一个人 独立 单人
亲自 亲眼 自己 自行 本人
首次 第一次 初次 初版 第一版 首
再次 第二次 再版 第二版
高 高度
长 长度 全长
重 重量
大 巨大
小 微小
快 迅速
马上 立刻 立即 当即 即刻 即 连夜 当天
有时 偶尔
经常 常常 时常 往往
一般 通常 平常
特别 尤其 非常 十分 很 极
合作 一起 共同 联手
签字 签名 署名 签署 名字
匿名 不署名
工作日 平日
星期 周 礼拜 个星期
小时 钟头 个小时
公尺 米
公里 千米
公斤 千克
分钟 分
块 元 块钱
年纪 岁 周岁 年龄
原来 本来 以前 从前 原先 原是
如今 现在 目前 今
写 书写 手写 记 记录 填写
看 观看 参观 瞧 看见 看到 目睹
晾 晒
外面 户外 室外
里面 内 里
边 面 侧 方 部
上面 上
下面 下
摸 触摸 触碰 碰 动
带走 拿走 带出 带
像 同 跟 如 好像 类似 看上去
组成 构成
出版 发表 刊行 推出 发布
公布 公示 公开 张贴 挂出 贴
预约 预订 提前约
收到 接到
导致 造成 引起 引发 使 令
治疗 治 医治
隔离 分开
丰富 多
扔 丢弃 倒 倒入 倒进
雨 雨水
掉 落 掉进 落水 掉落
救 救援 求救
摊开 摊
根本 归根到底 归根结底
过期 到期 逾期
清 清澈 清楚
不必 不用 无须 无需 不需要 没必要 没有必要 不须 用不着 免
荒废 废弃 废
超限 超范围
恢复 复原
接手 接管 接 接任 继任 交给
举办 办 举行 开
连任 再当
"""

KINDS_CHINESE = """
红 蓝 绿 黄 黑 白 灰 紫 橙 粉红 褐 棕 青
红色 蓝色 绿色 黄色 黑色 白色 灰色 紫色 橙色 褐色 棕色 青色
春天 夏天 秋天 冬天
春季 夏季 秋季 冬季
东 西 南 北
东区 西区 南区 北区
东侧 西侧 南侧 北侧
东门 西门 南门 北门
金 银 铜 铁 锡 铅 锌 铝 汞 镍 钢
金奖 银奖 铜奖
铝合金 碳纤维 不锈钢 塑料 木头 玻璃 橡胶 陶瓷 水泥 石头 竹子
木 石 砖 瓦 竹 纸 皮
棉 麻 丝 绸 毛 绒 尼龙
棉布 丝绸 麻布 绒布 毛巾 海绵
樟木 杉木 松木 柚木 柳木 榆木 橡木 桃木
梅 兰 竹 菊 荷 桂
金桂 银桂 丹桂
猫 狗 鸟 鱼 兔 鸡 鸭 鹅 牛 羊 马 猪 驴
黑熊 山猪 猴子 狐狸 狼 老虎 野猪 鹿
蚂蚁 蜘蛛 蜜蜂 蝴蝶 蚊子 苍蝇 壁虎 老鼠 虎头蜂
苹果 梨 桃 李 杏 葡萄 橘子 香蕉 西瓜 草莓
花生 核桃 芝麻 红豆 绿豆 黄豆 莲子 杏仁
白菜 萝卜 莴苣 菠菜 黄瓜 番茄 土豆 茄子
白糖 红糖 冰糖 蜂蜜 食盐 酱油 白醋 酒精 料酒
面粉 糯米 大米 小米 玉米
绿茶 红茶 乌龙 铁观音 普洱 白茶
教师 医生 护士 律师 记者 木匠 铁匠 裁缝 厨师 农民 渔民 司机 警察 工程师 会计 画家 作家 歌手 邮差 园艺师 设计师
父亲 母亲 哥哥 弟弟 姐姐 妹妹 叔叔 姑姑 舅舅 姨妈 表妹 表姐 表哥 表弟 爷爷 奶奶 外公 外婆 儿子 女儿 侄子 外甥 孙子 孙女
钢琴 小提琴 吉他 笛子 二胡 古筝 琵琶
中文 英文 日文 法文 德文 韩文 俄文 西班牙文
中国 美国 英国 法国 德国 日本 韩国 俄国 意大利 西班牙 印度 加拿大
北京 上海 广州 深圳 天津 重庆 南京 杭州 汉堡 巴黎 伦敦 柏林 纽约 东京
语文 数学 几何 物理 化学 生物 历史 地理 音乐 美术 体育
硫酸 盐酸 硝酸 醋酸
财务 保密 人事 后勤 销售 技术
空调 发电机 冰箱 洗衣机 电视 电脑 打印机 电梯
火车 汽车 飞机 轮船 地铁 公交车 出租车 摩托车 轮渡
学校 医院 图书馆 博物馆 邮局 银行 工厂 饭店 客栈 茶馆 书店 药店 剧院
花坛 水池 凉亭 喷泉 草地 球场
厨房 客厅 卧室 阳台 地下室 车库 浴室
帐篷 谷仓 山洞 窑洞 茅屋
围巾 帽子 手套 大衣 鞋 袜子 衬衫
头 手 脚 腿 膝盖 肩膀 眼睛 耳朵 鼻子
香蕉味 桂花香 蜜香 奶香 花香
上午 下午
早上 晚上 中午 傍晚 半夜
早饭 午饭 晚饭 早餐 午餐 晚餐
台风 暴雨 地震 洪水 火灾
现金 支票 转账 刷卡
铅笔 钢笔 毛笔 圆珠笔
人民币 美元 欧元 日元 港币
"""

OPPOSITES_CHINESE = """
可以 允许 准许 能 许可 | 禁止 严禁 禁
之前 以前 | 之后 以后
以上 超过 多于 高于 大于 至少 最少 不少于 不低于 起码 | 以下 少于 低于 小于 最多 至多 不足 不满 未满 不到 不超过 不多于 不得超过 不高于 不得高于 不能超过 不能多于 不可超过 不得多于
增加 提高 上涨 上升 延长 | 减少 降低 下降 缩短
同意 接受 答应 批准 通过 支持 | 拒绝 反对 谢绝 驳回 否决
打开 开启 开放 营业 开门 | 关闭 闭馆 停业 关门 打烊
开始 启用 | 停止 结束 停用
喜欢 | 讨厌 不喜欢
有 | 没有 无
成功 | 失败
有效 | 无效 失效 作废
需要 | 无须 免
安全 无毒 | 危险 有毒
收费 要钱 | 免费 不收费 免收
包括 含 | 除外
记得 | 忘记 忘
赞成 | 反对
完好 | 损坏
合适 适合 适用 | 不适合
及时 准时 | 迟到
最大 最多 | 最小 最少
便宜 | 昂贵 贵
"""

NEGATIONS_CHINESE = "不 没 没有 无 未 未曾 非 勿 别 莫 禁止 严禁 禁 谢绝 拒绝 否决 驳回 不得 不准 不许 不可 不能 请勿 不要 不必 不用 无须 无需 不需要 用不着 没有必要 不须 免"

# Words with a sign of negation in them that negate nothing.
NO_NEGATIONS_CHINESE = (
    "不锈钢 不同 不过 不但 不仅 不只 不久 不断 不少 不错 不间断 无论 不管 不论 非常 特别 别人 分别 区别 级别 性别 别的 别处 未来 "
    "无线 无锡 莫非 差不多 对不起 不然 否则 除非 是不是 有没有 能不能 非洲 不服 不收费 不署名 无意 无名 别墅 告别 不知 不一 不时 无比 无穷 不幸"
)

EXCUSES_CHINESE = "除 除外 除非 只 才 仅 免 缺 停 作废 逾期 否则 关 唯 不然 以外 例外 改 其余 只有 仅仅 无效 失效 闭 忘 忽 过期 正常 完好 远离 避免 防止 再 违 违者 违反 罚"

# Verbs that say no, whatever stands on the other side.
REFUSING_ENGLISH = "forbid forbidden ban banned prohibit refuse refused decline declined reject rejected deny denied exclude excluded turn_down turned_down"

# What a unit is worth in the smallest of its line.
UNITS = """
second 1 seconds 1 minute 60 hour 3600 hours 3600 day 86400 week 604800 fortnight 1209600 秒 1 分钟 60 分 60 小时 3600 钟头 3600 天 86400 日 86400 周 604800 星期 604800
month 1 year 12 decade 120 century 1200 月 1 个月 1 年 12 季度 3 世纪 1200
millimetre 1 millimeter 1 mm 1 centimetre 10 centimeter 10 cm 10 metre 1000 meter 1000 m 1000 kilometre 1000000 kilometer 1000000 km 1000000 毫米 1 厘米 10 公分 10 米 1000 公尺 1000 公里 1000000 千米 1000000
gram 1 g 1 kilogram 1000 kilo 1000 kg 1000 ton 1000000 tonne 1000000 克 1 公斤 1000 千克 1000 斤 500 吨 1000000
"""

# Words that a clause begins with whose yes or no is its own.
TURNS = "but whereas though although yet and or 而 但 但是 却 而且 也"

TITLES_ENGLISH = "mr mrs ms dr prof professor"

# Family names that are hardly ever words.
SURNAMES = (
    "赵孙李吴郑冯陈褚卫蒋沈韩杨朱秦尤吕孔曹严魏陶姜戚邹窦章苏潘葛范彭郎鲁韦俞袁柳鲍唐薛贺倪滕殷罗毕郝邬顾孟穆萧尹姚邵汪祁狄戴宋庞纪舒屈"
    "项董梁杜阮闵贾颜郭刁徐邱骆蔡樊胡霍虞卢裘缪邓崔龚邢裴陆翁荀甄靳侯仲栾甘厉刘詹黎赖卓蔺屠乔胥翟谭姬冉尚温晏柴瞿阎茹艾廖庾暨耿匡寇阙欧聂晁"
    "敖辛阚饶曾佟楚岑柏鞠蒯荆竺嵇"
)

# Words that begin as names do.
NO_NAMES = (
    "颜色 颜料 顾客 顾问 顾及 项目 卫生 卫星 毕业 毕竟 严格 严重 严肃 严密 严寒 董事 杨树 柳树 陶瓷 陶器 陶土 姜片 姜汤 姜丝 章程 韩国 杜绝 骆驼 鲁莽 "
    "尤其 尤为 汪洋 宋体 宋代 宋朝 唐代 唐朝 苏打 苏醒 葛根 范围 范例 鲍鱼 贺卡 殷勤 罗盘 罗列 罗纹 萧条 纪念 纪律 纪录 舒适 舒服 屈服 温度 温暖 温和 温泉 温水 "
    "柴火 柴油 艾草 乔木 欧洲 刁难 徐徐 陆地 陆续 仲裁 厉害 黎明 卓越 屠宰 尚未 尚且 辛苦 曾经 曾孙 曾任 鞠躬 荆棘 柏树 李子 曹操 彭湃 朱红 孟夏 饶恕 屠杀 童年"
)

LONG_SURNAMES = "欧阳 司马 上官 诸葛 慕容 夏侯 皇甫 公孙 令狐 长孙 宇文 尉迟 司徒 司空 端木 东方 独孤 南宫"

# Characters that bind words, and count for nothing by themselves.
WEAK_CHINESE = (
    "的了是在有和与或及也都就而但把被对从向到由以为于之其这那此个们着过地得很更最还又再上下里中内外时候后前间起来去出进会能可要须应"
    "不没无未非勿别莫请将并且因所如若则即等各每某本该者自他她它我你您们吗呢吧啊呀嘛哪谁什么怎样一二三四五六七八九十百千万亿两半第几多少"
    "受身大小高低长短做用说看想叫让使给跟同比按照经过通过关于至只才刚已曾正当便却虽然果除非般每次回件种条张名位只家座块片份场件些点儿子头年月日天号"
)
