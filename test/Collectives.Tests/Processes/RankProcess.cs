using System.Diagnostics;
using System.Globalization;

namespace Collectives.Tests.Processes;

/// <summary>A <see cref="RankProgram"/> and the lines between it and a test.</summary>
internal sealed class RankProcess : IDisposable
{
    private readonly Process _process;
    private readonly System.Text.StringBuilder _errors = new();

    private RankProcess(Process process) => _process = process;

    public int Id => _process.Id;

    /// <summary>What it says beside its answers: a native library's last words.</summary>
    public string Errors
    {
        get
        {
            lock (_errors)
                return _errors.ToString();
        }
    }

    public static RankProcess Start() => Start(new ProcessStartInfo(Environment.ProcessPath!, ["rank"]));

    /// <param name="start">How, where it is not a plain child.</param>
    public static RankProcess Start(ProcessStartInfo start)
    {
        (start.RedirectStandardInput, start.RedirectStandardOutput, start.RedirectStandardError) = (true, true, true);
        // A killed process would leave its diagnostics sockets in the temp folder.
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        var rank = new RankProcess(Process.Start(start)!);
        rank._process.ErrorDataReceived += (_, e) =>
        {
            lock (rank._errors)
                rank._errors.AppendLine(e.Data);
        };
        rank._process.BeginErrorReadLine();
        return rank;
    }

    public void Send(string order)
    {
        _process.StandardInput.WriteLine(order);
        _process.StandardInput.Flush();
    }

    /// <summary>What it answers, and when.</summary>
    public async Task<(string Text, TimeSpan Time)> AnswerAsync()
    {
        var line = await _process.StandardOutput.ReadLineAsync().WaitAsync(Ranks.Bound);
        Assert.IsNotNull(line, $"The rank has left. {Errors}");
        var at = line.LastIndexOf('@');
        Assert.IsGreaterThan(0, at, $"No answer: {line}. {Errors}");
        return (line[..(at - 1)], Stopwatch.GetElapsedTime(0, long.Parse(line[(at + 1)..], CultureInfo.InvariantCulture)));
    }

    public async Task ShouldAnswerAsync(string beginning)
    {
        var (text, _) = await AnswerAsync();
        Assert.StartsWith(beginning, text);
    }

    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync().WaitAsync(Ranks.Bound);
    }

    public void Dispose()
    {
        _process.Kill();
        _process.Dispose();
    }
}
