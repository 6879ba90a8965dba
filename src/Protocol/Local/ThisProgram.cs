namespace MLDistributed.Protocol;

/// <summary>How this program was started, so that it can be started again.</summary>
public static class ThisProgram
{
    /// <summary>Its own executable, or dotnet and its assembly when it was started that way; null: the system does not say.</summary>
    public static IReadOnlyList<string>? CommandLine() => Environment.ProcessPath is not { } program ? null
        : Path.GetFileNameWithoutExtension(program).Equals("dotnet", StringComparison.OrdinalIgnoreCase) ? [program, Environment.GetCommandLineArgs()[0]]
        : [program];
}
