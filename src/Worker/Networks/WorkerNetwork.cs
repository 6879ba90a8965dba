using System.Buffers.Binary;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Networks;

/// <summary>
/// The network on which this worker's ranks meet those of others: the interface that the operator names, or the one with an
/// address of the range that he names. Looked at again and again, as links go and come.
/// </summary>
/// <param name="asked">As in "eth1" or "10.1.0.0/16".</param>
/// <param name="ports">Where ranks are found there.</param>
/// <param name="mpi">MPI's version.</param>
/// <param name="mpiFault">Why MPI cannot be used; null: it can.</param>
/// <param name="list">The machine's interfaces that are there now.</param>
internal sealed class WorkerNetwork(string asked, PortRange ports, string mpi, string? mpiFault, Func<IReadOnlyList<NetworkLink>> list)
{
    /// <summary>Asks MPI and the system.</summary>
    /// <param name="asked">As in "eth1" or "10.1.0.0/16".</param>
    /// <param name="ports">As in "7300-7399"; null: these.</param>
    /// <exception cref="AgentException">It is neither, or these are no ports.</exception>
    public static WorkerNetwork Of(string asked, string? ports = null)
    {
        var range = ports is null ? PortRange.Default : PortRange.Parse(ports);
        if (asked.Contains('/', StringComparison.Ordinal) ? !IPNetwork.TryParse(asked, out _) : asked.Length is 0 or > 15 || asked.Any(c => char.IsWhiteSpace(c) || char.IsControl(c)))
            throw new AgentException($"Network is \"{VisibleText.Shortened(asked)}\", expected the name of an interface, as \"eth1\", or a range of addresses, as \"10.1.0.0/16\".");
        var fault = MpiWorld.Unavailable();
        return new WorkerNetwork(asked, range, fault is null ? MpiWorld.LibraryVersion() : "", fault, ListLinks);
    }

    /// <summary>Where ranks are found.</summary>
    public PortRange Ports => ports;

    /// <summary>Which NCCL the ranks of GPUs here have, as "2.27.5", and why none.</summary>
    public (string Version, string Fault) Nccl { get; set; } = ("", "");

    /// <summary>What it is now; its fault says why it cannot be used.</summary>
    public Network Look()
    {
        var links = list();
        var found = IPNetwork.TryParse(asked, out var range)
            ? links.Select(l => (Link: l, Address: l.Addresses.FirstOrDefault(range.Contains))).FirstOrDefault(l => l.Address is not null)
            : links.Where(l => l.Name == asked).Select(l => (Link: l, Address: l.Addresses.FirstOrDefault())).FirstOrDefault();
        return new Network
        {
            Interface = found.Link?.Name ?? "",
            Address = found.Address?.ToString() ?? "",
            Mpi = mpi,
            Nccl = Nccl.Version,
            NcclFault = Nccl.Fault,
            Fault = mpiFault ?? Fault(found.Link, found.Address, links) ?? "",
        };
    }

    /// <summary>Why an address is none of this network, as in: in "10.1.0.0/16"; null: it is one.</summary>
    /// <param name="address">Where another worker says it is. Behind a router it is only by a range that holds both, or where the interface has no network to speak of.</param>
    public string? WhyNotOn(IPAddress address)
    {
        var isRange = IPNetwork.TryParse(asked, out var range);
        IReadOnlyList<IPNetwork> networks;
        try
        {
            networks = isRange ? [range] : list().FirstOrDefault(l => l.Name == asked)?.Networks ?? [];
        }
        catch (NetworkInformationException e)
        {
            return $"of \"{asked}\", whose networks cannot be read ({e.Message.TrimEnd('.')})";
        }

        // Of one address, or two, as in clouds and tunnels: who else is there it does not say.
        var isAnybody = !isRange && address.AddressFamily == AddressFamily.InterNetwork && !IPAddress.IsLoopback(address) && networks.Any(n => n.PrefixLength >= 31);
        return isAnybody || networks.Any(n => n.Contains(address)) ? null : $"in {(networks.Count > 0 ? string.Join(" or ", networks) : "no network, as its interface is gone")} (\"{asked}\")";
    }

    private string? Fault(NetworkLink? link, IPAddress? address, IReadOnlyList<NetworkLink> links)
    {
        if (link is null)
            return $"no interface is, or has an address of, \"{asked}\" (--network); there are {string.Join(", ", links.Select(l => $"\"{l.Name}\" ({string.Join(", ", l.Addresses)})"))}";
        if (!link.IsUp)
            return $"interface \"{link.Name}\" has no link";
        return address is null ? $"interface \"{link.Name}\" has no IPv4 address" : null;
    }

    // IPv4: what UCX connects over.
    private static IReadOnlyList<NetworkLink> ListLinks() =>
    [
        .. NetworkInterface.GetAllNetworkInterfaces().Select(i => new NetworkLink(
            i.Name,
            i.OperationalStatus is OperationalStatus.Up or OperationalStatus.Unknown,
            [.. i.GetIPProperties().UnicastAddresses.Where(a => a.Address.AddressFamily == AddressFamily.InterNetwork).Select(a => new LinkAddress(a.Address, a.PrefixLength))])),
    ];
}

/// <summary>An interface of this machine.</summary>
/// <param name="Name">As "eth1".</param>
/// <param name="IsUp">Whether it has a link.</param>
/// <param name="At">Its addresses, of IPv4.</param>
internal sealed record NetworkLink(string Name, bool IsUp, IReadOnlyList<LinkAddress> At)
{
    public IEnumerable<IPAddress> Addresses => At.Select(a => a.Address);

    /// <summary>Those that it reaches without a router.</summary>
    public IReadOnlyList<IPNetwork> Networks => [.. At.Select(a => a.Network)];
}

/// <summary>An address of this machine.</summary>
/// <param name="Address">Of IPv4.</param>
/// <param name="PrefixLength">How many of its bits are the network's.</param>
internal sealed record LinkAddress(IPAddress Address, int PrefixLength)
{
    public IPNetwork Network
    {
        get
        {
            var bytes = Address.GetAddressBytes();
            var mask = PrefixLength == 0 ? 0 : uint.MaxValue << (32 - PrefixLength);
            BinaryPrimitives.WriteUInt32BigEndian(bytes, BinaryPrimitives.ReadUInt32BigEndian(bytes) & mask);
            return new IPNetwork(new IPAddress(bytes), PrefixLength);
        }
    }
}
