using System.Collections.Concurrent;
using System.Diagnostics;
using System.Reflection;
using System.Text.RegularExpressions;

namespace MLDistributed.Tests.Shared;

/// <summary>A real program, started by a test and ended with it.</summary>
internal sealed partial class RunningProgram : IDisposable
{
    private readonly Process _process;
    private readonly ConcurrentQueue<(string Line, bool IsError)> _lines = new();
    private readonly List<(Regex Pattern, TaskCompletionSource<string> Seen)> _waits = [];

    private RunningProgram(Process process) => _process = process;

    public int Id => _process.Id;

    /// <summary>Both streams, line by line as they came.</summary>
    public string Output => string.Join('\n', _lines.Select(l => l.Line));

    public string StandardOutput => string.Join('\n', _lines.Where(l => !l.IsError).Select(l => l.Line));

    public string StandardError => string.Join('\n', _lines.Where(l => l.IsError).Select(l => l.Line));

    /// <summary>Starts the built program of a project, in a temp folder of its own, with a temp folder of its own.</summary>
    public static RunningProgram Start(string project, string folder, string assembly, params string[] arguments) =>
        Start(project, folder, assembly, new Dictionary<string, string>(), arguments);

    /// <summary>The same, with more in its environment.</summary>
    public static RunningProgram Start(string project, string folder, string assembly, IReadOnlyDictionary<string, string> environment, params string[] arguments) =>
        StartFile(PathOf(project, assembly), folder, environment, arguments);

    /// <summary>Starts any program.</summary>
    public static RunningProgram StartFile(string path, string folder, IReadOnlyDictionary<string, string> environment, params string[] arguments)
    {
        var process = new Process
        {
            // A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
            StartInfo = new ProcessStartInfo("/usr/bin/env", ["--default-signal=INT,HUP", path, .. arguments])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                RedirectStandardInput = true,
                WorkingDirectory = folder,
            },
        };
        process.StartInfo.Environment["TMPDIR"] = folder;
        foreach (var (name, value) in environment)
            process.StartInfo.Environment[name] = value;
        var program = new RunningProgram(process);
        process.OutputDataReceived += (_, e) => program.Hear(e.Data, isError: false);
        process.ErrorDataReceived += (_, e) => program.Hear(e.Data, isError: true);
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return program;
    }

    public static string PathOf(string project, string assembly)
    {
        var metadata = typeof(RunningProgram).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().ToDictionary(a => a.Key, a => a.Value!);
        return Path.Combine(metadata["BuildOutput"], project, metadata["Configuration"], assembly);
    }

    /// <summary>The first line that matches, past or to come.</summary>
    public async Task<string> Line(string pattern, TimeSpan limit)
    {
        var seen = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        var regex = new Regex(pattern, RegexOptions.None, TimeSpan.FromSeconds(1));
        lock (_waits)
        {
            if (_lines.Select(l => l.Line).FirstOrDefault(regex.IsMatch) is { } line)
                return line;
            _waits.Add((regex, seen));
        }

        try
        {
            return await seen.Task.WaitAsync(limit);
        }
        catch (TimeoutException)
        {
            throw new TimeoutException($"No line matched \"{pattern}\" within {limit}. The program said:\n{Output}");
        }
    }

    public async Task<int> Exit(TimeSpan limit)
    {
        await _process.WaitForExitAsync().WaitAsync(limit);
        return _process.ExitCode;
    }

    public void Signal(string name) => Signal(Id, name);

    /// <summary>Signals any process.</summary>
    public static void Signal(int id, string name) => Process.Start("/bin/kill", [$"-{name}", $"{id}"]).WaitForExit(TimeSpan.FromSeconds(10));

    public void Dispose()
    {
        if (!_process.HasExited)
            _process.Kill(entireProcessTree: true);
        _process.Dispose();
    }

    private void Hear(string? line, bool isError)
    {
        if (line is null)
            return;
        lock (_waits)
        {
            _lines.Enqueue((line, isError));
            foreach (var (_, seen) in _waits.Where(w => w.Pattern.IsMatch(line)))
                seen.TrySetResult(line);
        }
    }
}
