using MLDistributed.Cli.Commands;

namespace Cli.Tests;

/// <summary>mldist in this process, with what it writes.</summary>
internal static class Mldist
{
    public static async Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments)
    {
        var (output, error) = (Console.Out, Console.Error);
        using var capturedOutput = new StringWriter();
        using var capturedError = new StringWriter();
        Console.SetOut(capturedOutput);
        Console.SetError(capturedError);
        try
        {
            var code = await CommandTree.RunAsync(arguments).WaitAsync(TimeSpan.FromSeconds(30));
            return (code, capturedOutput.ToString(), capturedError.ToString());
        }
        finally
        {
            Console.SetOut(output);
            Console.SetError(error);
        }
    }
}
