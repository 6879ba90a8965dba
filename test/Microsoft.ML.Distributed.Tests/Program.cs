using Microsoft.ML.Distributed.Tests;
using Microsoft.Testing.Platform.Builder;

if (args is ["stand-in", var role, .. var rest])
    return await StandIn.RunAsync(role, rest);
if (args is [ForeignApp.Verb, var model, var data])
    return ForeignApp.Run(model, data);

var builder = await TestApplication.CreateBuilderAsync(args);
builder.AddSelfRegisteredExtensions(args);
using var app = await builder.BuildAsync();
return await app.RunAsync();
