using MLDistributed.Coordinator;

// --data ./data --urls https://0.0.0.0:7443 [--socket /path] [--certificate cert.pem --certificate-key key.pem]
var configuration = new ConfigurationBuilder().AddCommandLine(args).Build();
var options = new CoordinatorOptions
{
    DataFolder = configuration["data"] ?? "./data",
    SocketPath = configuration["socket"],
    Urls = configuration["urls"]?.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) ?? [],
    CertificatePath = configuration["certificate"],
    CertificateKeyPath = configuration["certificate-key"],
};
try
{
    // Ctrl-C and SIGTERM end the host by themselves.
    await CoordinatorHost.RunAsync(options, CancellationToken.None);
    return 0;
}
catch (Exception e) when (e is ArgumentException or IOException or InvalidOperationException)
{
    await Console.Error.WriteLineAsync(e.Message);
    return 1;
}
