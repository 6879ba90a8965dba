using System.CommandLine;
using MLDistributed.Cli;
using MLDistributed.Cli.Commands;
using MLDistributed.Protocol;

namespace Cli.Tests.Commands;

[TestClass]
[DoNotParallelize] // the environment and standard input are the process's
public sealed class JoinTokenTests
{
    private readonly string _file = Path.Combine(Path.GetTempPath(), "mldist-token-" + Guid.NewGuid().ToString("N"));

    [TestCleanup]
    public void Clean() => File.Delete(_file);

    [TestMethod]
    public void Token_FromAFile_IsItsLine()
    {
        File.WriteAllText(_file, "mlj_abc\n");

        Assert.AreEqual("mlj_abc", Read("--token-file", _file));
    }

    [TestMethod]
    public void Token_FromStandardInput_IsItsLine()
    {
        var input = Console.In;
        Console.SetIn(new StringReader("mlj_abc\n"));
        try
        {
            Assert.AreEqual("mlj_abc", Read("--token-file", "-"));
        }
        finally
        {
            Console.SetIn(input);
        }
    }

    [TestMethod]
    public void Token_FromTheEnvironment_IsTakenOutOfIt()
    {
        Environment.SetEnvironmentVariable(ClusterVariables.JoinToken, "mlj_abc");

        Assert.AreEqual("mlj_abc", Read());
        Assert.IsNull(Environment.GetEnvironmentVariable(ClusterVariables.JoinToken), "Rank processes would have it.");
        Assert.IsNull(Read());
    }

    [TestMethod]
    public void Token_AsAnArgument_IsTakenWithAWarning()
    {
        var error = Console.Error;
        using var said = new StringWriter();
        Console.SetError(said);
        try
        {
            Assert.AreEqual("mlj_abc", Read("--token", "mlj_abc"));
        }
        finally
        {
            Console.SetError(error);
        }

        StringAssert.StartsWith(said.ToString(), "--token is deprecated: all users of this machine can read the arguments of its processes.");
    }

    [TestMethod]
    [DataRow("", "has no join token"), DataRow("two words", "has no join token"), DataRow(null, "cannot be read")]
    public void Token_OfAFileWithoutOne_IsUsage(string? content, string expected)
    {
        if (content is not null)
            File.WriteAllText(_file, content);

        var error = Assert.ThrowsExactly<CliException>(() => Read("--token-file", _file));

        StringAssert.Contains(error.Message, expected);
        Assert.AreEqual(ExitCode.Usage, error.Code);
    }

    [TestMethod]
    public void Token_FromStandardInputThatIsALifeline_IsUsage() =>
        StringAssert.Contains(Assert.ThrowsExactly<CliException>(() => Read(isInputTaken: true, "--token-file", "-")).Message, "--lifeline has standard input");

    private static string? Read(params string[] arguments) => Read(isInputTaken: false, arguments);

    private static string? Read(bool isInputTaken, params string[] arguments)
    {
        var (file, argument) = (JoinToken.File(), JoinToken.Argument());
        var command = new RootCommand { file, argument };
        return JoinToken.Read(command.Parse(arguments), file, argument, isInputTaken);
    }
}
