using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace MLDistributed.Tests.Shared;

/// <summary>Hosts that a network joins: network namespaces of this machine, each with an "eth0", on a bridge in one more. Needs root and iproute2.</summary>
internal sealed class NetworkHosts : IDisposable
{
    public const string Interface = "eth0";

    private static int s_count;

    private readonly string _prefix = string.Create(CultureInfo.InvariantCulture, $"mld{Environment.ProcessId}n{Interlocked.Increment(ref s_count)}");
    private readonly SlowCable?[] _slow;

    private NetworkHosts(int count) => _slow = new SlowCable?[count];

    private string Switch => _prefix + "sw";

    /// <summary>Why they cannot be made here; null: they can.</summary>
    public static string? Unavailable()
    {
        if (!OperatingSystem.IsLinux() || !Environment.IsPrivilegedProcess)
            return "Makes network namespaces, which needs root on Linux.";
        var name = string.Create(CultureInfo.InvariantCulture, $"mld{Environment.ProcessId}try");
        if (Ip(["netns", "add", name]) is { } refusal)
            return $"Makes network namespaces, which this machine does not let it ({refusal}).";
        Ip(["netns", "del", name]);
        return null;
    }

    public static NetworkHosts Create(int count)
    {
        var hosts = new NetworkHosts(count);
        try
        {
            Must("netns", "add", hosts.Switch);
            Must("-n", hosts.Switch, "link", "add", "br0", "type", "bridge");
            Must("-n", hosts.Switch, "link", "set", "br0", "up");
            for (var host = 0; host < count; host++)
            {
                var (name, port) = (hosts.Name(host), Port(host));
                Must("netns", "add", name);
                Must("-n", name, "link", "add", Interface, "address", HardwareAddress(host), "type", "veth", "peer", "name", port, "netns", hosts.Switch);
                Must("-n", hosts.Switch, "link", "set", port, "master", "br0", "up");
                Must("-n", name, "addr", "add", Address(host) + "/24", "dev", Interface);
                Must("-n", name, "link", "set", "lo", "up");
                Must("-n", name, "link", "set", Interface, "up");
                // As of hosts that have talked: else what a lost one is asked for would end with "no route" in place of silence, after 3 s.
                foreach (var other in Enumerable.Range(0, count).Where(o => o != host))
                    Must("-n", name, "neigh", "add", Address(other), "lladdr", HardwareAddress(other), "dev", Interface, "nud", "permanent");
            }

            return hosts;
        }
        catch
        {
            hosts.Dispose();
            throw;
        }
    }

    public static string Address(int host) => string.Create(CultureInfo.InvariantCulture, $"10.77.0.{host + 1}");

    /// <summary>Starts a program on a host; the process is the program's own.</summary>
    public ProcessStartInfo On(int host, string program, params string[] arguments) => new("ip", CommandOn(host, program, arguments));

    /// <summary>The arguments with which "ip" becomes a program on a host.</summary>
    public string[] CommandOn(int host, string program, params string[] arguments) => ["netns", "exec", Name(host), program, .. arguments];

    /// <summary>Pulls a host's cable, or puts it back.</summary>
    public void SetLink(int host, bool isUp)
    {
        Must("-n", Switch, "link", "set", Port(host), isUp ? "up" : "down");
        // The other end sees it a moment later.
        for (var looks = 0; Read("-n", Name(host), "link", "show", Interface).Contains("LOWER_UP", StringComparison.Ordinal) != isUp; looks++)
        {
            if (looks == 1000)
                throw new InvalidOperationException($"{Interface} of host {host} does not see that its link is {(isUp ? "up" : "down")}.");
        }
    }

    /// <summary>Limits what a host sends.</summary>
    /// <param name="host">From 0.</param>
    /// <param name="rate">As tc has it: "1gbit"; null: no limit any more.</param>
    public void SetRate(int host, string? rate)
    {
        if (_slow[host] is { } cable)
            Straighten(host, cable);
        else if (Shape(host, rate is null ? [] : ["tbf", "rate", rate, "burst", "256k", "latency", "50ms"]) is { } refusal)
            throw new InvalidOperationException($"tc: {refusal}");
    }

    /// <summary>Delays what a host sends, until <see cref="SetRate"/>: by tc's netem, or where the kernel has none by a <see cref="SlowCable"/>.</summary>
    /// <param name="host">From 0.</param>
    /// <param name="milliseconds">Each way: a round trip between two such hosts takes twice as long.</param>
    /// <returns>Why this machine does neither; null: it does.</returns>
    public string? SetDelay(int host, int milliseconds)
    {
        if (Shape(host, ["netem", "delay", string.Create(CultureInfo.InvariantCulture, $"{milliseconds}ms")]) is null)
            return null;
        if (_slow[host] is { } before)
            Straighten(host, before);
        try
        {
            Lengthen(host, _slow[host] = new SlowCable(TimeSpan.FromMilliseconds(milliseconds)));
            return null;
        }
        catch (IOException e)
        {
            return e.Message;
        }
    }

    /// <summary>The shortest round trip of some packets, in milliseconds.</summary>
    public double RoundTrip(int from, int to)
    {
        // "rtt min/avg/max/mdev = 4.061/4.108/4.227/0.059 ms"
        var said = Read(CommandOn(from, "ping", "-q", "-n", "-c", "10", "-i", "0.01", "-w", "10", Address(to)));
        return said.Split("mdev = ") is [_, var times] ? double.Parse(times.Split('/')[0], CultureInfo.InvariantCulture) : throw new InvalidOperationException($"ping from host {from} to {to}: {said}");
    }

    /// <summary>Has the switch forget a host, whose own link stays up: what it sends is lost.</summary>
    public void SetLost(int host, bool isLost) => Must(["-n", Switch, "link", "set", Port(host), .. isLost ? (string[])["nomaster"] : ["master", "br0"]]);

    /// <summary>Has what a host sends to another be lost, without a word, or arrive again; all else goes on.</summary>
    public void SetDeaf(int from, int to, bool isDeaf) =>
        Must("-n", Name(from), "neigh", "replace", Address(to), "lladdr", isDeaf ? "02:00:0a:4d:ff:ff" : HardwareAddress(to), "dev", Interface, "nud", "permanent");

    /// <summary>Has what a host answers from some TCP ports be lost, as a firewall that lets nobody connect to them; all else goes on.</summary>
    public void SetClosed(int host, string ports, bool isClosed) =>
        Must("-n", Name(host), "rule", isClosed ? "add" : "del", "pref", "10", "ipproto", "tcp", "sport", ports, "blackhole");

    /// <summary>What a host has sent until now, with all headers.</summary>
    public long SentBytes(int host)
    {
        using var links = JsonDocument.Parse(Read("-n", Name(host), "-statistics", "-json", "link", "show", Interface));
        return links.RootElement[0].GetProperty("stats64").GetProperty("tx").GetProperty("bytes").GetInt64();
    }

    public void Dispose()
    {
        for (var host = 0; host < _slow.Length; host++)
            Ip(["netns", "del", Name(host)]);
        Ip(["netns", "del", Switch]);
        foreach (var cable in _slow)
            cable?.Dispose();
    }

    // From the host's port by a bridge of its own and the cable to that of all: the host itself sees nothing of it.
    private void Lengthen(int host, SlowCable cable)
    {
        var (bridge, near, far) = (SlowBridge(host), Port(host) + "near", Port(host) + "far");
        Must("-n", Switch, "link", "add", bridge, "type", "bridge");
        foreach (var (device, name, master) in new[] { (cable.Near, near, bridge), (cable.Far, far, "br0") })
        {
            Must("link", "set", device, "netns", Switch, "name", name);
            Must("-n", Switch, "link", "set", name, "master", master, "up");
        }

        Must("-n", Switch, "link", "set", bridge, "up");
        Must("-n", Switch, "link", "set", Port(host), "master", bridge);
    }

    private void Straighten(int host, SlowCable cable)
    {
        Must("-n", Switch, "link", "set", Port(host), "master", "br0");
        cable.Dispose();
        _slow[host] = null;
        Must("-n", Switch, "link", "del", SlowBridge(host));
    }

    private static string SlowBridge(int host) => string.Create(CultureInfo.InvariantCulture, $"slow{host}");

    private string? Shape(int host, string[] discipline) =>
        Run("tc", ["-n", Name(host), "qdisc", discipline.Length == 0 ? "del" : "replace", "dev", Interface, "root", .. discipline]);

    private static string HardwareAddress(int host) => string.Create(CultureInfo.InvariantCulture, $"02:00:0a:4d:00:{host + 1:x2}");

    private static string Port(int host) => string.Create(CultureInfo.InvariantCulture, $"port{host}");

    private static void Must(params string[] arguments)
    {
        if (Ip(arguments) is { } refusal)
            throw new InvalidOperationException($"ip {string.Join(' ', arguments)}: {refusal}");
    }

    private static string? Ip(string[] arguments) => Run("ip", arguments);

    private static string Read(params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("ip", arguments) { RedirectStandardOutput = true })!;
        var text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return text;
    }

    private static string? Run(string program, string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
            var text = process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0 ? null : text.Trim();
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return e.Message;
        }
    }

    private string Name(int host) => string.Create(CultureInfo.InvariantCulture, $"{_prefix}h{host}");
}
