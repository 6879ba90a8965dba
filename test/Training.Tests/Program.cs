using System.Globalization;
using Microsoft.Testing.Platform.Builder;
using Training.Tests.Hosts;
using Training.Tests.Loop;

if (args is ["steps", var kilobytes])
    return SmallHeap.Run(int.Parse(kilobytes, CultureInfo.InvariantCulture));

if (args is ["libtorch", var folder, var device])
    return Training.Tests.Native.ForeignLibtorchTests.Train(folder, onCuda: device == "cuda");

if (args is ["host-rank", .. var job])
    return HostRank.Run(job);

var builder = await TestApplication.CreateBuilderAsync(args);
Training.Tests.SelfRegisteredExtensions.AddSelfRegisteredExtensions(builder, args);
using var app = await builder.BuildAsync();
return await app.RunAsync();
