using System.Diagnostics;
using System.Globalization;

namespace Collectives.Tests.Processes;

/// <summary>A <see cref="RankProgram"/> and the lines between it and a test.</summary>
internal sealed class RankProcess : IDisposable
{
    private readonly Process _process;

    private RankProcess(Process process) => _process = process;

    public static RankProcess Start()
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["rank"]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        // A killed process would leave its diagnostics sockets in the temp folder.
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        var process = Process.Start(start)!;
        process.ErrorDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        return new RankProcess(process);
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
        Assert.IsNotNull(line, "The rank has left.");
        var at = line.LastIndexOf('@');
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
