using System.ComponentModel;
using System.CommandLine;
using System.Diagnostics;
using MLDistributed.Cli.Output;
using MLDistributed.Training.Native;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist libtorch: a tool package cannot depend on other packages, so that this fetches what a worker loads.</summary>
internal sealed class LibtorchCommand : Command
{
    // Restores download what is named here and nothing else; no build is involved.
    private const string Project = $"""
        <Project Sdk="Microsoft.NET.Sdk">
          <PropertyGroup><TargetFramework>net10.0</TargetFramework></PropertyGroup>
          <ItemGroup><PackageDownload Include="{LibtorchFolder.PackageId}" Version="[{LibtorchFolder.PackageVersion}]" /></ItemGroup>
        </Project>
        """;

    private readonly Option<bool> _json = ClusterCommand.AsJson();

    public LibtorchCommand() : base("libtorch", $"Show where this machine's libtorch is, and fetch it by NuGet (130 MB) where there is none. Workers load it; {LibtorchFolder.Variable} names another.")
    {
        Add(_json);
        SetAction(ShowAsync);
    }

    private async Task<int> ShowAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var isFetched = Find() is null;
        if (isFetched)
            await FetchAsync(cancellation).ConfigureAwait(false);
        var folder = Find() ?? throw new CliException(
            $"NuGet unpacked {LibtorchFolder.PackageId} into a folder that NUGET_PACKAGES does not name. Set {LibtorchFolder.Variable} to its folder runtimes/linux-x64/native.");
        if (parsed.GetValue(_json))
            Json.Write(new LibtorchView(folder, LibtorchFolder.PackageVersion, isFetched));
        else
            await Console.Out.WriteLineAsync(folder).ConfigureAwait(false);
        return ExitCode.Success;
    }

    private static string? Find()
    {
        try
        {
            return LibtorchFolder.Find();
        }
        catch (DllNotFoundException e)
        {
            throw new CliException(e.Message);
        }
    }

    private static async Task FetchAsync(CancellationToken cancellation)
    {
        var folder = Directory.CreateTempSubdirectory("mldist-libtorch-");
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "libtorch.csproj"), Project, cancellation).ConfigureAwait(false);
            var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet", ["restore", folder.FullName, "--verbosity", "quiet"])
            {
                // NuGet's own sources are those of where the user is; what it says goes where errors go.
                WorkingDirectory = Environment.CurrentDirectory,
                RedirectStandardOutput = true,
            };
            using var restore = Process.Start(start)!;
            try
            {
                await Console.Error.WriteAsync(await restore.StandardOutput.ReadToEndAsync(cancellation).ConfigureAwait(false)).ConfigureAwait(false);
                await restore.WaitForExitAsync(cancellation).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                restore.Kill(entireProcessTree: true);
                throw;
            }

            if (restore.ExitCode != 0)
                throw new CliException($"NuGet could not fetch {LibtorchFolder.PackageId} {LibtorchFolder.PackageVersion}, expected it in one of this machine's package sources (dotnet nuget list source).");
        }
        catch (Win32Exception e)
        {
            throw new CliException($"\"dotnet restore\" cannot be started: {e.Message}. Install the .NET SDK, or copy libtorch {LibtorchFolder.PackageVersion} here and set {LibtorchFolder.Variable} to its folder.");
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
