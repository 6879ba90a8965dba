using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Coordinator;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist tokens create</summary>
internal sealed class TokensCommand : Command
{
    private readonly Option<string> _data = new("--data") { Description = "The coordinator's data folder, on this machine.", Required = true, HelpName = "D" };
    private readonly Option<double> _hours = new("--valid-hours") { Description = "How long a worker may join with it, once.", DefaultValueFactory = _ => 24, HelpName = "h" };

    private readonly Option<int> _count = new("--count") { Description = "How many, a line each.", DefaultValueFactory = _ => 1, HelpName = "n" };
    private readonly Option<bool> _json = ClusterCommand.AsJson();

    public TokensCommand() : base("tokens", "Make tokens by which workers join, on the coordinator's machine.")
    {
        var create = new Command("create", "Make a token for one worker, or --count of them, and print it.") { _data, _hours, _count, _json };
        create.SetAction(Create);
        Add(create);
    }

    private int Create(ParseResult parsed)
    {
        var hours = parsed.GetValue(_hours);
        if (hours is not (> 0 and <= 24 * 365))
            throw new CliException($"--valid-hours is {hours}, expected a number above 0, at most a year.", ExitCode.Usage);
        var count = parsed.GetValue(_count);
        if (count is not (> 0 and <= 10_000))
            throw new CliException($"--count is {count}, expected 1 to 10,000.", ExitCode.Usage);
        var tokens = CoordinatorAdministration.CreateJoinTokens(parsed.GetRequiredValue(_data), count, TimeSpan.FromHours(hours));
        if (parsed.GetValue(_json))
            Json.Write(tokens);
        else
            Console.WriteLine(string.Join(Environment.NewLine, tokens));
        return ExitCode.Success;
    }
}
