using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace MLDistributed.Cli.Commands;

/// <summary>The help of mldist itself, which ends with what scripts need.</summary>
internal sealed class RootHelp(HelpAction help) : SynchronousCommandLineAction
{
    public override int Invoke(ParseResult parseResult)
    {
        var result = help.Invoke(parseResult);
        if (parseResult.CommandResult.Command is not RootCommand)
            return result;
        var output = parseResult.InvocationConfiguration.Output;
        output.WriteLine("Exit codes:");
        foreach (var (code, meaning) in ExitCode.All)
            output.WriteLine($"  {code,-5} {meaning}");
        return result;
    }
}
