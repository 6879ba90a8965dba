using System.Diagnostics;
using System.Globalization;
using Google.Protobuf;
using Microsoft.Extensions.Logging.Abstractions;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using MLDistributed.Worker.Agents;
using MLDistributed.Worker.Networks;
using MLDistributed.Worker.Peers;
using MLDistributed.Worker.Transfers;

namespace MLDistributed.Engine.Bench;

/// <summary>The part of an agent that fetches an attempt's data, in a process a host. Their offers go by this program, as they go by the coordinator in a cluster.</summary>
internal static class DataHosts
{
    // A host that says nothing for so long hangs: 256 MB at 1 Gbit/s take four times 2 s.
    private static readonly TimeSpan s_silence = TimeSpan.FromMinutes(2);
    private const string Key = "MLDIST_BENCH_KEY";

    /// <summary>Has hosts fetch a dataset at the same time; the seconds until the last has it, checked.</summary>
    public static double Fetch(NetworkHosts hosts, int count, BenchCoordinator coordinator, string id, bool isShared)
    {
        var processes = new Process[count];
        try
        {
            for (var place = 0; place < count; place++)
            {
                var start = hosts.On(place, Environment.ProcessPath!, "data-host", coordinator.Address, coordinator.Fingerprint, id, $"{place}", $"{(isShared ? count : 1)}");
                (start.RedirectStandardInput, start.RedirectStandardOutput) = (true, true);
                (start.Environment[Key], start.Environment["DOTNET_TieredPGO"]) = (coordinator.Key, "0");
                processes[place] = Process.Start(start)!;
            }

            foreach (var process in processes)
                Expect(process, "ready");
            var started = Stopwatch.GetTimestamp();
            foreach (var process in processes)
                process.StandardInput.WriteLine("go");
            foreach (var end in Task.WhenEach(processes.Select((_, place) => Task.Run(() => Relay(processes, place)))).ToBlockingEnumerable())
                end.GetAwaiter().GetResult(); // at the first that fails: the others may wait for it
            var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
            foreach (var process in processes)
                process.StandardInput.Close();
            foreach (var (place, process) in processes.Index())
                if (!process.WaitForExit(s_silence) || process.ExitCode != 0)
                    throw new InvalidOperationException($"Host {place} {(process.HasExited ? $"ended with {process.ExitCode}" : $"did not end within {s_silence}")}, expected an end with 0.");
            return seconds;
        }
        finally
        {
            Ranks.End(processes);
        }
    }

    /// <summary>One host. Arguments: coordinator, fingerprint, dataset, place, count.</summary>
    public static int RunHost(string[] args)
    {
        var (address, fingerprint, id, place, count) = (new Uri(args[0]), args[1], ContentHash.Parse(args[2]), int.Parse(args[3], CultureInfo.InvariantCulture), int.Parse(args[4], CultureInfo.InvariantCulture));
        var folder = Directory.CreateTempSubdirectory("data-host-").FullName;
        try
        {
            using var connection = ClusterConnection.Open(address, Environment.GetEnvironmentVariable(Key), fingerprint);
            var log = new AgentLog(NullLogger.Instance);
            var blobs = new BlobTransfer(() => connection.Invoker, TimeProvider.System, log);
            // An agent's connection is open, and its code is compiled.
            blobs.SizeAsync(id, BlobKind.Dataset, CancellationToken.None).GetAwaiter().GetResult();
            var peers = count == 1 ? null : Peers(id, place, count, log);
            Console.WriteLine("ready");
            Console.ReadLine();
            var hearing = Task.Run(() => Hear(peers));
            var fetching = new DatasetCache(folder, long.MaxValue, blobs, TimeProvider.System).AcquireAsync(id, "", null, peers, CancellationToken.None);
            Task.WhenAny(fetching, hearing).Unwrap().GetAwaiter().GetResult(); // who cannot hear the others any more says why
            fetching.GetAwaiter().GetResult();
            Console.WriteLine("done");
            hearing.GetAwaiter().GetResult(); // gives its data until all have it
            return 0;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static DataPeers Peers(ContentHash id, int place, int count, AgentLog log)
    {
        var start = new StartAttempt { AttemptId = "a", Spec = new JobSpec { Data = new DataSpec { DatasetId = id.Text } }, Participant = place };
        start.Participants.AddRange(Enumerable.Range(0, count).Select(p => new Participant { Host = $"h{p}", Ranks = 1 }));
        return new DataPeers(start, WorkerNetwork.Of(NetworkHosts.Interface), offer => Console.WriteLine(Convert.ToBase64String(offer.ToByteArray())), (_, _) => { }, TimeProvider.System, log);
    }

    private static void Hear(DataPeers? peers)
    {
        while (Console.ReadLine() is { } line)
            peers?.Take(DataOffer.Parser.ParseFrom(Convert.FromBase64String(line)));
    }

    private static void Relay(Process[] processes, int place)
    {
        while (NextLine(processes[place], $"Host {place}") is var line && line != "done")
        {
            var offer = DataOffer.Parser.ParseFrom(Convert.FromBase64String(line));
            offer.Participant = place;
            var told = Convert.ToBase64String(offer.ToByteArray());
            foreach (var (_, other) in processes.Index().Where(p => p.Index != place))
                lock (other)
                    other.StandardInput.WriteLine(told);
        }
    }

    private static void Expect(Process process, string word)
    {
        if (NextLine(process, "A host") is var line && line != word)
            throw new InvalidOperationException($"A host said \"{line}\", expected \"{word}\".");
    }

    private static string NextLine(Process process, string host)
    {
        try
        {
            if (process.StandardOutput.ReadLineAsync().WaitAsync(s_silence).GetAwaiter().GetResult() is { } line)
                return line;
        }
        catch (TimeoutException e)
        {
            throw new InvalidOperationException($"{host} said nothing for {s_silence}, expected its data within that time.", e);
        }

        throw new InvalidOperationException($"{host} ended early{(process.WaitForExit(s_silence) ? $", with {process.ExitCode}" : "")}: its own words are above.");
    }
}
