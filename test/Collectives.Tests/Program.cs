using Collectives.Tests.Processes;
using Microsoft.Testing.Platform.Builder;

if (args is ["rank"])
    return RankProgram.Run();

var builder = await TestApplication.CreateBuilderAsync(args);
Collectives.Tests.SelfRegisteredExtensions.AddSelfRegisteredExtensions(builder, args);
using var app = await builder.BuildAsync();
return await app.RunAsync();
