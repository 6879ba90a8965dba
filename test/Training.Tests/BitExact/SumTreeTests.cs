using MLDistributed.Collectives;
using MLDistributed.Training.BitExact;
using MLDistributed.Training.Data;

namespace Training.Tests.BitExact;

[TestClass]
public sealed class SumTreeTests
{
    [TestMethod, DataRow(1), DataRow(2), DataRow(3), DataRow(7), DataRow(8), DataRow(24), DataRow(32)]
    public void SumTree_AnyNumberOfRanks_AddsInTheSameOrder(int parts)
    {
        var expected = Evaluate(parts, 1);
        for (var world = 2; world <= parts + 2; world++)
            Assert.AreEqual(expected, Evaluate(parts, world), $"{world} ranks");
    }

    [TestMethod]
    public void SumTree_EightParts_IsBalanced() => Assert.AreEqual("(((0+1)+(2+3))+((4+5)+(6+7)))", Evaluate(8, 3));

    [TestMethod, DataRow(8, 1, 4), DataRow(8, 2, 3), DataRow(8, 3, 3), DataRow(8, 8, 2), DataRow(32, 1, 6)]
    public void BuffersOf_MoreRanks_AreFewer(int parts, int world, int expected) => Assert.AreEqual(expected, BitExactUpdate.BuffersOf(parts, Topology.OfCpus(world)));

    [TestMethod, DataRow(7), DataRow(8), DataRow(32)]
    public void SumTree_AnyHosts_AddInTheSameOrder(int parts)
    {
        var expected = Evaluate(parts, 1);
        foreach (var ranks in (int[][])[[1, 1], [2, 2], [3, 1], [1, 3], [2, 1, 1], [1, 1, 1, 1], [5, 2, 1], [parts, 2]])
            Assert.AreEqual(expected, Evaluate(parts, Topology.OfCpus(ranks)), string.Join('+', ranks));
    }

    private static string Evaluate(int parts, int world) => Run(SumTree.OfRanks(parts, world).Program, SlotsOf(parts, world));

    // Each host sums its own nodes, and all of these are summed after.
    private static string Evaluate(int parts, Topology topology)
    {
        var (ranks, hosts) = (SumTree.OfRanks(parts, topology.WorldSize), SumTree.OfHosts(parts, topology));
        var slots = SlotsOf(parts, topology.WorldSize);
        var nodes = topology.Hosts.Select((_, host) => hosts.NodesOf(host).Select(node => Run(ranks.ProgramOf(node), slots)).ToArray()).ToArray();
        Assert.IsTrue(nodes.All(n => n.Length <= hosts.Slots));
        return Run(hosts.Program, nodes);
    }

    // Runs the plan of all ranks on texts instead of numbers.
    private static string[][] SlotsOf(int parts, int world)
    {
        var tree = SumTree.OfRanks(parts, world);
        var slots = new string[world][];
        for (var rank = 0; rank < world; rank++)
        {
            slots[rank] = new string[tree.Slots];
            var split = BatchSplit.OfParts(parts, rank, world);
            for (var part = split.First; part < split.First + split.Count; part++)
            {
                var fold = tree.FoldOf(part);
                var sum = $"{part}";
                for (var slot = fold.Slot + fold.Merges - 1; slot >= fold.Slot; slot--)
                    sum = $"({slots[rank][slot]}+{sum})";
                slots[rank][fold.Slot] = sum;
            }
        }

        return slots;
    }

    private static string Run(SumTree.Term[] program, string[][] slots)
    {
        var stack = new Stack<string>();
        foreach (var term in program)
        {
            var right = term.IsAddition ? stack.Pop() : "";
            stack.Push(term.IsAddition ? $"({stack.Pop()}+{right})" : slots[term.Holder][term.Slot]);
            Assert.IsLessThanOrEqualTo(SumTree.DepthOf(program), stack.Count);
        }

        return stack.Single();
    }
}
