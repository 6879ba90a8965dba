using MLDistributed.Training.Data;

namespace MLDistributed.Training.BitExact;

/// <summary>
/// The one binary tree in which the gradients of a global batch's parts are summed, whoever has which part: floating-point
/// addition is not associative, so the same tree gives the same bits. A node is computed by the rank that has all its
/// leaves; where a node's leaves are several ranks', it is computed slice by slice by all.
/// </summary>
internal sealed class SumTree
{
    private readonly Dictionary<(int Start, int End), (int Rank, int Slot)> _whole = [];
    private readonly Fold[] _folds;

    /// <param name="parts">Leaves, at least 1.</param>
    /// <param name="rank">This rank.</param>
    /// <param name="worldSize">Ranks; each has the leaves of <see cref="BatchSplit.OfParts"/>.</param>
    public SumTree(int parts, int rank, int worldSize)
    {
        _folds = new Fold[parts];
        for (var r = 0; r < worldSize; r++)
        {
            var split = BatchSplit.OfParts(parts, r, worldSize);
            var stack = new List<(int Start, int End)>();
            for (var part = split.First; part < split.First + split.Count; part++)
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
                if (r == rank)
                    _folds[part] = new Fold(stack.Count - 1, merges);
            }

            for (var slot = 0; slot < stack.Count; slot++)
                _whole[stack[slot]] = (r, slot);
        }

        var program = new List<Term>();
        Visit(0, parts, program);
        Program = [.. program];
        Depth = DepthOf(program);
    }

    /// <summary>The most sums that a rank keeps at a time.</summary>
    public int Slots { get; }

    /// <summary>How the ranks' sums become the whole sum: a stack machine's program. Loads push; an addition pops two and pushes their sum.</summary>
    public IReadOnlyList<Term> Program { get; }

    /// <summary>The most values on the stack of <see cref="Program"/>.</summary>
    public int Depth { get; }

    /// <summary>What becomes of a part of this rank once it is computed.</summary>
    public Fold FoldOf(int part) => _folds[part];

    /// <summary>Gradient buffers a rank: the one that backward fills, and the slots.</summary>
    public static int BuffersOf(int parts, int worldSize) => 1 + new SumTree(parts, 0, worldSize).Slots;

    private void Visit(int start, int end, List<Term> program)
    {
        if (_whole.TryGetValue((start, end), out var at))
        {
            program.Add(new Term(at.Rank, at.Slot));
            return;
        }

        var middle = Middle(start, end);
        Visit(start, middle, program);
        Visit(middle, end, program);
        program.Add(Term.Addition);
    }

    private static int DepthOf(List<Term> program)
    {
        var (depth, most) = (0, 0);
        foreach (var term in program)
        {
            depth += term.IsAddition ? -1 : 1;
            most = Math.Max(most, depth);
        }

        return most;
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

    /// <summary>A rank's slot to load, or an addition.</summary>
    internal readonly record struct Term(int Rank, int Slot)
    {
        public static Term Addition { get; } = new(-1, -1);

        public bool IsAddition => Rank < 0;
    }
}
