using MLDistributed.Collectives;
using MLDistributed.Training.Data;

namespace MLDistributed.Training.BitExact;

/// <summary>
/// The one binary tree in which the gradients of a global batch's parts are summed, whoever has which part: floating-point
/// addition is not associative, so the same tree gives the same bits. A node is computed by the holder, a rank or a host,
/// that has all its leaves; where a node's leaves are several holders', it is computed slice by slice by all.
/// </summary>
internal sealed class SumTree
{
    private readonly Dictionary<(int Start, int End), (int Holder, int Slot)> _whole = [];
    private readonly List<(int Start, int End)>[] _nodes;
    private readonly Fold[] _folds;

    /// <param name="parts">Leaves, at least 1.</param>
    /// <param name="holders">Who has which leaves, in order; those of <see cref="OfRanks"/> or <see cref="OfHosts"/>.</param>
    private SumTree(int parts, IReadOnlyList<Shard> holders)
    {
        _folds = new Fold[parts];
        _nodes = new List<(int Start, int End)>[holders.Count];
        for (var holder = 0; holder < holders.Count; holder++)
        {
            var stack = _nodes[holder] = [];
            for (var part = (int)holders[holder].Start; part < holders[holder].End; part++)
            {
                stack.Add((part, part + 1));
                var merges = 0;
                while (stack.Count > 1 && IsNode(parts, stack[^2], stack[^1]))
                {
                    stack[^2] = (stack[^2].Start, stack[^1].End);
                    stack.RemoveAt(stack.Count - 1);
                    merges++;
                }

                // Only now: a leaf that is merged at once takes no slot.
                Slots = Math.Max(Slots, stack.Count);
                _folds[part] = new Fold(stack.Count - 1, merges);
            }

            for (var slot = 0; slot < stack.Count; slot++)
                _whole[stack[slot]] = (holder, slot);
        }

        Program = ProgramOf((0, parts));
    }

    /// <summary>The most sums that a holder keeps at a time.</summary>
    public int Slots { get; }

    /// <summary>How the holders' sums become the whole sum.</summary>
    public Term[] Program { get; }

    /// <summary>Of ranks; each has the leaves of <see cref="BatchSplit.OfParts"/>.</summary>
    public static SumTree OfRanks(int parts, int worldSize) => new(parts, [.. Enumerable.Range(0, worldSize).Select(r => BatchSplit.OfParts(parts, r, worldSize)).Select(s => new Shard(s.First, s.Count))]);

    /// <summary>Of hosts; each has the leaves of its ranks.</summary>
    public static SumTree OfHosts(int parts, Topology topology) => new(parts, [.. topology.Hosts.Select(h =>
    {
        var first = BatchSplit.OfParts(parts, h.FirstRank, topology.WorldSize);
        var last = BatchSplit.OfParts(parts, h.FirstRank + h.RankCount - 1, topology.WorldSize);
        return new Shard(first.First, last.First + last.Count - first.First);
    })]);

    /// <summary>What becomes of a part once its holder has it.</summary>
    public Fold FoldOf(int part) => _folds[part];

    /// <summary>The nodes that a holder has whole, with no larger one around them, by slot.</summary>
    public IReadOnlyList<(int Start, int End)> NodesOf(int holder) => _nodes[holder];

    /// <summary>How the holders' sums become a node's: a stack machine's program. Loads push; an addition pops two and pushes their sum.</summary>
    public Term[] ProgramOf((int Start, int End) node)
    {
        var program = new List<Term>();
        Visit(node.Start, node.End, program);
        return [.. program];
    }

    /// <summary>The most values on the stack of a program.</summary>
    public static int DepthOf(IEnumerable<Term> program)
    {
        var (depth, most) = (0, 0);
        foreach (var term in program)
        {
            depth += term.IsAddition ? -1 : 1;
            most = Math.Max(most, depth);
        }

        return most;
    }

    private void Visit(int start, int end, List<Term> program)
    {
        if (_whole.TryGetValue((start, end), out var at))
        {
            program.Add(new Term(at.Holder, at.Slot));
            return;
        }

        var middle = Middle(start, end);
        Visit(start, middle, program);
        Visit(middle, end, program);
        program.Add(Term.Addition);
    }

    // Whether two neighbours are the halves of a node of the tree over all parts.
    private static bool IsNode(int parts, (int Start, int End) left, (int Start, int End) right)
    {
        var (start, end) = (0, parts);
        while (end - start > 1)
        {
            if (start == left.Start && end == right.End)
                return Middle(start, end) == left.End;
            var middle = Middle(start, end);
            (start, end) = left.Start >= middle ? (middle, end) : (start, middle);
        }

        return false;
    }

    // The largest power of two below the length goes left, so that any number of parts has one tree.
    private static int Middle(int start, int end) => start + (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)(end - start)) / 2;

    /// <summary>Slots [Slot, Slot + Merges) and the new part are summed, the newest first, into Slot.</summary>
    internal readonly record struct Fold(int Slot, int Merges);

    /// <summary>A holder's slot to load, or an addition.</summary>
    internal readonly record struct Term(int Holder, int Slot)
    {
        public static Term Addition { get; } = new(-1, -1);

        public bool IsAddition => Holder < 0;
    }
}
