using MLDistributed.Coordinator.Hosting;
using MLDistributed.Coordinator.Security;

namespace MLDistributed.Coordinator;

/// <summary>Runs the coordinator service.</summary>
public static class CoordinatorHost
{
    /// <summary>Serves until cancelled.</summary>
    /// <exception cref="ArgumentException">The options are invalid; the message lists all that is wrong.</exception>
    /// <exception cref="IOException">The data folder is in use by another coordinator, or an address is; or files of the running one vanished or cannot be written.</exception>
    public static async Task RunAsync(CoordinatorOptions options, CancellationToken cancellation)
    {
        var server = await CoordinatorServer.StartAsync(options, cancellation).ConfigureAwait(false);
        await using (server.ConfigureAwait(false))
        {
            if (options.Urls.Count > 0)
                PrintFirstStart(server, options);
            var log = new HostLog(server.Services.GetRequiredService<ILoggerFactory>().CreateLogger("MLDistributed.Coordinator"));
            foreach (var address in server.Addresses)
                log.Listening(address.ToString());

            var stopped = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            using var onCancel = cancellation.Register(() => stopped.TrySetResult());
            using var onStop = server.Stopping.Register(() => stopped.TrySetResult());
            await stopped.Task.ConfigureAwait(false);
            if (server.Fault is { } fault)
                throw fault;
        }
    }

    private static void PrintFirstStart(CoordinatorServer server, CoordinatorOptions options)
    {
        var address = FirstStart.Reachable(new Uri(options.Urls[0]), server.Addresses[0].Port);
        // One that was configured is trusted by others; should it not be, its fingerprint is in the log.
        var isSelfSigned = address.Scheme == Uri.UriSchemeHttps && options.CertificatePath is null;
        FirstStart.PrintKeys(
            server.Services.GetRequiredService<KeyRing>(),
            address,
            isSelfSigned ? server.Services.GetRequiredService<Lazy<ServerCertificate>>().Value.Fingerprint : null,
            Console.Out);
    }
}
