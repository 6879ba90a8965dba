using MLDistributed.Protocol;

namespace MLDistributed.Worker.Ranks;

/// <summary>A program and its first arguments.</summary>
internal sealed record RankCommandLine(string Program, IReadOnlyList<string> Arguments)
{
    /// <summary>This program with the argument "rank": its own executable, or dotnet and its assembly when it was started that way.</summary>
    public static RankCommandLine OfThisProgram()
    {
        var words = ThisProgram.CommandLine() ?? throw new AgentException("The path of this program is unknown, expected a program started from a file.");
        return new(words[0], [.. words.Skip(1), "rank"]);
    }
}
