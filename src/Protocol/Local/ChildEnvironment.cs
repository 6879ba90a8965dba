namespace MLDistributed.Protocol;

/// <summary>
/// What a process that we start inherits of its starter's environment: all that concerns the machine, and nothing that
/// tunes, watches or configures the starter's own .NET runtime (the garbage collector's limits, the compiler, profilers,
/// start-up hooks, web servers). What is to reach our processes all the same is named MLDIST_CHILD_NAME.
/// </summary>
public static class ChildEnvironment
{
    /// <summary>A variable MLDIST_CHILD_X is X to our processes.</summary>
    public const string EscapePrefix = "MLDIST_CHILD_";

    private static readonly string[] s_ofARuntime = ["DOTNET_", "COMPlus_", "CORECLR_", "COR_", "ASPNETCORE_"];
    private static readonly string[] s_ofAWebServer = ["URLS", "HTTP_PORTS", "HTTPS_PORTS"];

    // Where .NET is and which, what the machine has (libraries, cores, network), and what works around it.
    private static readonly string[] s_ofTheMachine =
    [
        "DOTNET_ROOT", "DOTNET_ROLL_FORWARD", "DOTNET_MULTILEVEL_LOOKUP", "DOTNET_BUNDLE_EXTRACT_BASE_DIR", "DOTNET_PROCESSOR_COUNT",
        "DOTNET_RUNNING_IN_CONTAINER", "DOTNET_SYSTEM_GLOBALIZATION_", "DOTNET_SYSTEM_NET_", "DOTNET_EnableWriteXorExecute", "DOTNET_EnableHWIntrinsic", "DOTNET_EnableAVX",
    ];

    /// <summary>Takes out what is the starter's own business, and puts in what is named for our processes.</summary>
    public static void Clean(IDictionary<string, string?> environment)
    {
        ArgumentNullException.ThrowIfNull(environment);
        foreach (var name in environment.Keys.Where(IsOfTheStarter).ToArray())
            environment.Remove(name);
    }

    /// <summary>Sets what MLDIST_CHILD_ variables say: last, so that they hold against everything.</summary>
    public static void ApplyEscapes(IDictionary<string, string?> environment)
    {
        ArgumentNullException.ThrowIfNull(environment);
        foreach (var (name, value) in environment.Where(v => v.Key.StartsWith(EscapePrefix, StringComparison.Ordinal) && v.Key.Length > EscapePrefix.Length).ToArray())
            environment[name[EscapePrefix.Length..]] = value;
    }

    private static bool IsOfTheStarter(string name) =>
        s_ofAWebServer.Contains(name, StringComparer.OrdinalIgnoreCase)
        || (s_ofARuntime.Any(p => name.StartsWith(p, StringComparison.OrdinalIgnoreCase)) && !s_ofTheMachine.Any(p => name.StartsWith(p, StringComparison.OrdinalIgnoreCase)));
}
