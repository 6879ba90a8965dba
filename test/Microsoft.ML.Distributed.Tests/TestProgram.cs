namespace Microsoft.ML.Distributed.Tests;

/// <summary>The tests; or, started by one of them, an app that scores a saved model and knows ML.NET alone.</summary>
internal static class TestProgram
{
    public static async Task<int> Main(string[] args) => args is [ForeignApp.Verb, var model, var data]
        ? ForeignApp.Run(model, data)
        : await MicrosoftTestingPlatformApplication.RunAsync(args).ConfigureAwait(false);
}
