using System.Diagnostics;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// A child that lives as long as its standard input is open: when this process ends, however it does, the system closes
/// the pipe and the child leaves by itself.
/// </summary>
internal sealed class RuntimeProcess : IDisposable
{
    private const string TempVariable = "TMPDIR";
    private readonly Process _process;
    private readonly TaskCompletionSource<int> _exited = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Starts <c>mldist</c> with these arguments.</summary>
    /// <param name="runtime">The program.</param>
    /// <param name="arguments">What it is to do.</param>
    /// <param name="folder">Where it starts: the app's own folder may be gone.</param>
    /// <param name="onLine">Hears what it writes.</param>
    /// <exception cref="ClusterException">The system cannot start it.</exception>
    public RuntimeProcess(RuntimeCommand runtime, IEnumerable<string> arguments, string folder, Action<string> onLine)
    {
        var start = new ProcessStartInfo(runtime.FileName, [.. runtime.Arguments, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            CreateNoWindow = true,
            WorkingDirectory = folder,
        };
        foreach (var (name, value) in runtime.Environment)
            start.Environment[name] = value;
        SetEnvironment(start.Environment);
        _process = new Process { StartInfo = start, EnableRaisingEvents = true };
        _process.OutputDataReceived += Forward;
        _process.ErrorDataReceived += Forward;

        // Not WaitForExitAsync: that waits for the pipes too, which grandchildren may hold.
        _process.Exited += (_, _) => _exited.TrySetResult(ExitCode());
        try
        {
            _process.Start();
        }
        catch (Exception e) when (e is System.ComponentModel.Win32Exception or IOException)
        {
            _process.Dispose();
            throw new ClusterException($"The runtime \"{runtime.FileName}\" cannot be started: {e.Message}. Check that it is a program for this machine and may be executed.", e);
        }

        Id = _process.Id;
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();

        void Forward(object sender, DataReceivedEventArgs e)
        {
            if (e.Data is { Length: > 0 } line)
                onLine(VisibleText.Of(line));
        }
    }

    public int Id { get; }

    /// <summary>Ends with the exit code.</summary>
    public Task<int> Exited => _exited.Task;

    /// <summary>Asks it to leave, and returns at once.</summary>
    public void CloseInput()
    {
        try
        {
            _process.StandardInput.Close();
        }
        catch (IOException)
        {
            // It left already.
        }
    }

    /// <summary>Waits for it to leave, and ends it and its children when it does not.</summary>
    public void WaitOrKill(TimeSpan limit)
    {
        if (!_process.WaitForExit(limit < TimeSpan.Zero ? TimeSpan.Zero : limit))
        {
            _process.Kill(entireProcessTree: true);
            _process.WaitForExit(TimeSpan.FromSeconds(1));
        }
    }

    public void Dispose() => _process.Dispose();

    private int ExitCode()
    {
        try
        {
            return _process.ExitCode;
        }
        catch (InvalidOperationException)
        {
            return -1; // disposed meanwhile: nobody asks any more
        }
    }

    /// <summary>What of this app's environment is its own business goes; what makes a small, quick process comes.</summary>
    internal static void SetEnvironment(IDictionary<string, string?> environment)
    {
        ChildEnvironment.Clean(environment);
        foreach (var name in ClusterVariables.All)
            environment.Remove(name);
        environment["DOTNET_gcServer"] = "0";
        environment["DOTNET_TieredPGO"] = "0"; // ready about a tenth sooner
        environment["DOTNET_EnableDiagnostics"] = "0"; // a killed process would leave its debugger pipes in the temp folder
        if (environment.TryGetValue(TempVariable, out var temp) && temp is { Length: > 0 })
            environment[TempVariable] = Path.GetFullPath(temp); // a child starts in another folder
        ChildEnvironment.ApplyEscapes(environment);
    }
}
