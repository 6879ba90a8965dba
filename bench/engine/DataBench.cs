using System.Globalization;
using System.Runtime.InteropServices;
using Apache.Arrow;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;

namespace MLDistributed.Engine.Bench;

/// <summary>
/// The time until a dataset is on four hosts (network namespaces), from a real coordinator on a fifth whose link is shaped: each
/// host from the coordinator alone, and from one another too; and what the coordinator sent.
/// </summary>
internal static class DataBench
{
    private const int Hosts = 4;
    private const string Alone = "coordinator alone";
    private const string Shared = "from one another too";

    private static readonly string[] s_contenders = [Alone, Shared];
    private static readonly int[] s_megaBytes = [4, 16, 64, 256];
    private static readonly string[] s_rates = ["200mbit", "1gbit", "bare"];

    public static int Run(string[] args)
    {
        if (NetworkHosts.Unavailable() is { } reason)
        {
            Console.WriteLine(reason);
            return 0;
        }

        var rounds = args is [var first, ..] ? int.Parse(first, CultureInfo.InvariantCulture) : 3;
        Console.WriteLine($"| coordinator's link | data | {string.Join(" | ", s_contenders.Select(c => c + ", s"))} | alone / shared, within a round | bytes that the coordinator sent, of the data: alone | shared | points without both cores |");
        Console.WriteLine("| --- | --- | --- | --- | --- | --- | --- | --- |");
        var folder = Directory.CreateTempSubdirectory("data-").FullName;
        using var hosts = NetworkHosts.Create(Hosts + 1);
        using var coordinator = BenchCoordinator.Start(hosts, Hosts, folder);
        try
        {
            foreach (var megaBytes in args.Length > 1 ? args[1..].Select(a => int.Parse(a, CultureInfo.InvariantCulture)) : s_megaBytes)
            {
                var id = coordinator.Adopt(path => WriteDataset(path, megaBytes));
                foreach (var rate in s_rates.Where(r => r != "200mbit" || megaBytes <= 64)) // as long as that takes
                {
                    if (rate != "bare")
                        hosts.SetRate(Hosts, rate);
                    Measure(rounds, rate, megaBytes, id, hosts, coordinator);
                    if (rate != "bare")
                        hosts.SetRate(Hosts, null);
                }
            }
        }
        finally
        {
            coordinator.End();
            Directory.Delete(folder, recursive: true);
        }

        return 0;
    }

    private static void Measure(int rounds, string rate, int megaBytes, string id, NetworkHosts hosts, BenchCoordinator coordinator)
    {
        var (times, sent) = (new RoundTable(s_contenders), new RoundTable(s_contenders));
        for (var i = 0; i < rounds * s_contenders.Length; i++)
        {
            var contender = s_contenders[i % s_contenders.Length];
            var before = 0L;
            times.Take(contender, () =>
            {
                before = hosts.SentBytes(Hosts);
                return DataHosts.Fetch(hosts, Hosts, coordinator, id, isShared: contender == Shared);
            }, s => s);
            sent.Add(contender, (hosts.SentBytes(Hosts) - before) / (double)coordinator.SizeOf(id));
            Console.Error.Write('.');
        }

        Console.WriteLine($"| {rate} | {megaBytes} MB | {string.Join(" | ", s_contenders.Select(c => $"{times.Median(c):0.00} ({times.Lowest(c):0.00} to {times.Highest(c):0.00})"))} | {times.Ratio(Alone, Shared)} | {sent.Median(Alone):0.00} | {sent.Median(Shared):0.00} | {times.UncleanCount} |");
    }

    private static void WriteDataset(string path, int megaBytes)
    {
        const int features = 1023; // with the label 4 KiB a row
        var random = new Random(megaBytes);
        var schema = DatasetSchema.Create(features, hasWeights: false);
        using var stream = File.Create(path);
        using var writer = new ArrowFileWriter(stream, schema);
        const int rows = 256;
        for (var batch = 0; batch < megaBytes; batch++)
        {
            var values = new float[rows * features];
            foreach (ref var value in values.AsSpan())
                value = random.NextSingle();
            var floats = new FloatArray(new ArrowBuffer(MemoryMarshal.AsBytes(values.AsSpan()).ToArray()), ArrowBuffer.Empty, values.Length, 0, 0);
            var labels = new FloatArray.Builder().AppendRange(Enumerable.Range(0, rows).Select(r => (float)(r % 2))).Build();
            writer.WriteRecordBatch(new RecordBatch(schema, [new FixedSizeListArray((FixedSizeListType)schema.FieldsList[0].DataType, rows, floats, ArrowBuffer.Empty, 0), labels], rows));
        }

        writer.WriteEnd();
    }
}
