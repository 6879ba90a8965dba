using Microsoft.Testing.Platform.Builder;
using MLDistributed.Worker;
using MLDistributed.Worker.Ranks;
using Worker.Tests;
using Worker.Tests.Fakes;

switch (args)
{
    case ["rank", ..]:
        return await RankHost.RunAsync(args, ScriptedTraining.Engine);
    case ["agent", var coordinator, var work, var slots]:
        await AgentHost.RunAsync(
            new AgentOptions { Coordinator = new Uri(coordinator), WorkFolder = work, Slots = int.Parse(slots, System.Globalization.CultureInfo.InvariantCulture), Device = MLDistributed.Protocol.DeviceKind.Cpu },
            CancellationToken.None);
        return 0;
    default:
        var builder = await TestApplication.CreateBuilderAsync(args);
        SelfRegisteredExtensions.AddSelfRegisteredExtensions(builder, args);
        using (var app = await builder.BuildAsync())
            return await app.RunAsync();
}
