using MLDistributed.Protocol;

namespace Protocol.Tests;

[TestClass]
public sealed class VisibleTextTests
{
    [TestMethod]
    [DataRow("plain, \"quoted\" \\ Grüße 東京 👩‍🔬 می‌خواهم", "plain, \"quoted\" \\ Grüße 東京 👩‍🔬 می‌خواهم", DisplayName = "what can be seen stays")]
    [DataRow("a\nb\rc\td", @"a\nb\rc\td")]
    [DataRow("\e[2J\0\a\u007f\u009b", @"\e[2J\u0000\u0007\u007F\u009B")]
    [DataRow("\u202Egpj.exe\u202C \u2066x\u2069 \u200F\u061C", @"\u202Egpj.exe\u202C \u2066x\u2069 \u200F\u061C")]
    [DataRow("zero\u200Bwidth\uFEFF\u00AD", @"zero\u200Bwidth\uFEFF\u00AD")]
    [DataRow("a\u2028b\u2029c", @"a\u2028b\u2029c")]
    [DataRow("tag \U000E0041", @"tag \U000E0041")]
    [DataRow("", "")]
    public void Of_Text_ShowsWhatHides(string text, string expected) => Assert.AreEqual(expected, VisibleText.Of(text));

    [TestMethod]
    public void Of_HalfOfACharacter_IsItsNumber() => Assert.AreEqual(@"a\uD83Db\uDE00", VisibleText.Of("a\uD83Db\uDE00"));

    [TestMethod]
    public void Hanging_OfText_HasNoLineOfItsOwn() => Assert.AreEqual($@"a{Environment.NewLine}  | b\e{Environment.NewLine}  | ", VisibleText.Hanging("a\r\nb\e\n", "  | "));

    [TestMethod]
    public void Lines_OfText_AreKeptAndVisible() => CollectionAssert.AreEqual(new[] { "a", @"b\e", "" }, VisibleText.Lines("a\r\nb\e\n").ToArray());
}
