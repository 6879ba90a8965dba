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
    public void BuffersOf_MoreRanks_AreFewer(int parts, int world, int expected) => Assert.AreEqual(expected, SumTree.BuffersOf(parts, world));

    // Runs the plan of all ranks on texts instead of numbers.
    private static string Evaluate(int parts, int world)
    {
        var slots = new string[world][];
        for (var rank = 0; rank < world; rank++)
        {
            var tree = new SumTree(parts, rank, world);
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

        var stack = new Stack<string>();
        var last = new SumTree(parts, world - 1, world);
        foreach (var term in last.Program)
        {
            var right = term.IsAddition ? stack.Pop() : "";
            stack.Push(term.IsAddition ? $"({stack.Pop()}+{right})" : slots[term.Rank][term.Slot]);
            Assert.IsLessThanOrEqualTo(last.Depth, stack.Count);
        }

        return stack.Single();
    }
}
