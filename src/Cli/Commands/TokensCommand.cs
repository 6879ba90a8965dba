using System.CommandLine;
using MLDistributed.Coordinator;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist tokens create</summary>
internal sealed class TokensCommand : Command
{
    private readonly Option<string> _data = new("--data") { Description = "The coordinator's data folder, on this machine.", Required = true, HelpName = "D" };
    private readonly Option<double> _hours = new("--valid-hours") { Description = "How long a worker may join with it, once.", DefaultValueFactory = _ => 24, HelpName = "h" };

    public TokensCommand() : base("tokens", "Make tokens by which workers join, on the coordinator's machine.")
    {
        var create = new Command("create", "Make a token for one worker and print it.") { _data, _hours };
        create.SetAction(Create);
        Add(create);
    }

    private int Create(ParseResult parsed)
    {
        var hours = parsed.GetValue(_hours);
        if (hours is not (> 0 and <= 24 * 365))
            throw new CliException($"--valid-hours is {hours}, expected a number above 0, at most a year.", ExitCode.Usage);
        Console.WriteLine(CoordinatorAdministration.CreateJoinToken(parsed.GetRequiredValue(_data), TimeSpan.FromHours(hours)));
        return ExitCode.Success;
    }
}
