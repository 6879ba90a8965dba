namespace Packages.Tests;

/// <summary>An app of somebody else's, in a folder of its own.</summary>
internal sealed class App
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    private static readonly Dictionary<string, string> s_environment = new()
    {
        ["DOTNET_CLI_TELEMETRY_OPTOUT"] = "1",
        ["DOTNET_NOLOGO"] = "1",
        // Nothing stays behind to build faster the next time.
        ["MSBUILDDISABLENODEREUSE"] = "1",
        ["RestoreUseStaticGraphEvaluation"] = "false",
    };

    /// <param name="name">The app's, of its project and its folder.</param>
    /// <param name="project">The text of its project file.</param>
    /// <param name="extension">That of its project file.</param>
    /// <param name="sources">Files of Apps/, or elsewhere by their whole paths.</param>
    public App(string name, string project, string extension = "csproj", params string[] sources)
    {
        Name = name;
        Folder = Directory.CreateDirectory(Path.Combine(Feed.Folder, name)).FullName;
        File.WriteAllText(Path.Combine(Folder, $"{name}.{extension}"), project.Replace("$VERSION", Feed.Version, StringComparison.Ordinal));
        foreach (var source in sources)
            File.Copy(Path.Combine(AppContext.BaseDirectory, "Apps", source), Path.Combine(Folder, Path.GetFileName(source)));
    }

    public string Name { get; }

    public string Folder { get; }

    /// <summary>A project of this SDK that references MLDistributed.Local.</summary>
    public static string Project(string properties = "", string items = "", string sdk = "Microsoft.NET.Sdk", string package = "MLDistributed.Local") => $"""
        <Project Sdk="{sdk}">
          <PropertyGroup>
            <TargetFramework>net10.0</TargetFramework>
            <OutputType>Exe</OutputType>
            <ImplicitUsings>enable</ImplicitUsings>
            <Nullable>enable</Nullable>
            {properties}
          </PropertyGroup>
          <ItemGroup>
            <PackageReference Include="{package}" Version="$VERSION" />
            {items}
          </ItemGroup>
        </Project>
        """;

    /// <summary>Runs dotnet in the app's folder to its end, which has to be a good one.</summary>
    public async Task<string> DotnetAsync(params string[] arguments)
    {
        var (code, output) = await TryDotnetAsync(arguments);
        Assert.AreEqual(0, code, $"dotnet {string.Join(' ', arguments)}:\n{output}");
        return output;
    }

    public async Task<(int Code, string Output)> TryDotnetAsync(params string[] arguments)
    {
        using var dotnet = RunningProgram.StartFile("dotnet", Folder, s_environment, arguments);
        var code = await dotnet.Exit(s_limit);
        return (code, dotnet.Output);
    }

    /// <summary>The app, or a part of it, as something that lives.</summary>
    public RunningProgram Start(string program, IReadOnlyDictionary<string, string>? environment = null, params string[] arguments) =>
        RunningProgram.StartFile(program, Folder, environment ?? new Dictionary<string, string>(), arguments);

    /// <summary>Runs a program elsewhere, as nobody, with this environment alone.</summary>
    public static async Task<string> RunAsNobodyAsync(string program, string folder, params string[] variables)
    {
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_111_111);
        using var app = RunningProgram.StartFile("setpriv", folder, new Dictionary<string, string>(),
            ["--reuid=65534", "--regid=65534", "--clear-groups", "env", "-i", $"TMPDIR={folder}", "HOME=/nonexistent", .. variables, program]);
        var code = await app.Exit(s_limit);
        Assert.AreEqual(0, code, app.Output);
        return app.Output;
    }
}
