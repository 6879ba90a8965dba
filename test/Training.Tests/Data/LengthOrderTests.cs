using MLDistributed.Protocol;
using MLDistributed.Training.Data;

namespace Training.Tests.Data;

/// <summary>Rows of like length side by side within a global batch.</summary>
[TestClass]
public sealed class LengthOrderTests
{
    private const int Tokens = 256;
    private const int Rows = 650;
    private const int Batch = 64;
    private static readonly JobSpec s_text = new() { Module = new ModuleSpec { Text = new TextSpec { InputSize = Tokens } } };

    [TestMethod, DataRow(1), DataRow(8)]
    public void Of_Texts_LeavesLittleOfThePaddingInPartsAndEachRowInItsBatch(int parts)
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], Tokens, Rows, row => [.. Enumerable.Repeat(7f, LengthOf(row)), .. new float[Tokens - LengthOf(row)]], _ => 0);
        using var file = new DatasetFile(folder["data"]);
        var order = new RowOrder(3, Rows, 0);
        var at = LengthOrder.Of(s_text, file, i => order.TrainingRow(0, i), Batch, Rows);
        var (before, after) = (0L, 0L);
        for (var start = 0L; start < Rows; start += Batch)
        {
            var size = (int)Math.Min(Batch, Rows - start);
            var unordered = Enumerable.Range(0, size).Select(i => order.TrainingRow(0, start + i)).ToArray();
            var ordered = Enumerable.Range(0, size).Select(i => at(start + i)).ToArray();

            CollectionAssert.AreEquivalent(unordered, ordered);
            // Of one length in the order that they had.
            CollectionAssert.AreEqual(unordered.OrderBy(LengthOf).ToArray(), ordered);
            before += Padding(unordered, parts);
            after += Padding(ordered, parts);
        }

        if (parts == 1)
            Assert.AreEqual(before, after);
        else
            Assert.IsLessThan(before / 4, after, $"{before:N0} tokens of padding unordered, {after:N0} ordered");
    }

    [TestMethod]
    public void Of_OtherModules_LeavesRowsAsTheyCome()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 10);
        using var file = new DatasetFile(folder["data"]);
        Func<long, long> at = index => 9 - index;

        Assert.AreSame(at, LengthOrder.Of(new JobSpec { Module = new ModuleSpec { Mlp = new MlpSpec() } }, file, at, 4, 10));
    }

    [TestMethod, DataRow("2 5 3 0 0", 3), DataRow("0 0 0", 1), DataRow("2 0 3 0", 3), DataRow("1 2", 2)]
    public void Length_Ids_IsThatUpToTheLast(string ids, int expected) =>
        Assert.AreEqual(expected, LengthOrder.Length([.. ids.Split(' ').Select(float.Parse)]));

    private static int LengthOf(long row) => 5 + (int)(row * 7919 % (Tokens - 4));

    private static long Padding(long[] rows, int parts) => rows.Chunk((rows.Length + parts - 1) / parts).Sum(part => (part.Max(LengthOf) * (long)part.Length) - part.Sum(r => (long)LengthOf(r)));
}
