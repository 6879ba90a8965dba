using System.Diagnostics.CodeAnalysis;

namespace Microsoft.ML.Distributed;

/// <summary>
/// What is cleaned up when the process ends in order. A Fit that still runs on another thread then loses its cluster and its
/// files: it must neither return nor throw, as an exception that nobody catches would end the app with another exit code.
/// </summary>
internal static class ProcessEnd
{
    private static readonly Lock s_gate = new();
    private static readonly List<Action> s_actions = [];
    private static volatile bool s_hasBegun;

    static ProcessEnd() => AppDomain.CurrentDomain.ProcessExit += (_, _) => Run();

    public static bool HasBegun => s_hasBegun;

    /// <summary>Has something done then.</summary>
    public static void Do(Action action)
    {
        lock (s_gate)
            s_actions.Add(action);
    }

    /// <summary>Stays for the moment that the process still has.</summary>
    public static async Task StayAsync() => await Task.Delay(Timeout.Infinite).ConfigureAwait(false);

    [SuppressMessage("Design", "CA1031", Justification = "What cannot be cleaned up must not change the app's exit code.")]
    private static void Run()
    {
        s_hasBegun = true;
        Action[] actions;
        lock (s_gate)
            actions = [.. s_actions];
        foreach (var action in actions)
        {
            try
            {
                action();
            }
            catch (Exception)
            {
                // The next start cleans up what is left.
            }
        }
    }
}
