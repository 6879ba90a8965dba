using MLDistributed.Protocol;
using MLDistributed.Training.Metrics;
using MLDistributed.Training.Native;
using static TorchSharp.torch;

namespace Training.Tests.Metrics;

/// <summary>The metrics of words, beside what is counted by hand.</summary>
[TestClass]
public sealed class TaggingSumsTests
{
    // Classes: O, B-PER, I-PER, B-LOC, I-LOC.
    private static readonly TagsSpec s_entities = new() { Entity = { 0, 1, 1, 2, 2 }, Begins = { false, true, false, true, false } };

    [TestMethod]
    [DataRow("OBIO", "OBIO", 1, 1)]
    [DataRow("OBIO", "OBOO", 0.75, 0)] // another end
    [DataRow("BIBI", "BIIB", 0.5, 0)] // one long, and one of another beginning
    [DataRow("BIO BIO", "BIO OOO", 4 / 6.0, 2 / 3.0)] // rows end entities
    [DataRow("BI I", "BI I", 1, 1)]
    [DataRow("OIIO", "OBIO", 0.75, 1)] // one that begins with "I-" begins there
    [DataRow("BB", "BI", 0.5, 0)]
    [DataRow("bi", "BI", 0, 0)] // another kind
    [DataRow("Bi", "BI", 0.5, 0)]
    [DataRow("OO", "OO", 1, double.NaN)]
    public void Values_Entities_CountWhereBothEndsAndTheKindAreRight(string guesses, string labels, double accuracy, double f1)
    {
        var values = OnARank(s_entities, "OBIbi", guesses, labels);

        Assert.AreEqual(accuracy, values[0], 1e-6);
        Assert.AreEqual(f1, values[1], 1e-6);
    }

    [TestMethod]
    public void Values_OtherClasses_AreTheMeanF1OfThoseThatThereAre()
    {
        // Of a: 2 of 3 said and of 2; of b: 1 of 1 and of 2; c is never there.
        var values = OnARank(new TagsSpec(), "abcde", "aaab", "aabb");

        Assert.AreEqual(0.75, values[0], 1e-6);
        Assert.AreEqual((2 * 2 / 5.0 + 2 * 1 / 3.0) / 2, values[1], 1e-6);
    }

    [TestMethod]
    public void Values_MulticlassOnARank_FindTheClassOfManyToo()
    {
        var values = OnARank(() =>
        {
            var sums = MetricSums.Of(new JobSpec { Task = MlTask.Multiclass, Module = new ModuleSpec { Mlp = new MlpSpec { OutputSize = 10 } } });
            var all = new double[sums.Count];
            sums.Add(eye(10), arange(10, ScalarType.Int64), null, all);
            return sums.Values(all);
        });

        CollectionAssert.AreEqual(new[] { 1.0, 1.0 }, values);
    }

    private static double[] OnARank(TagsSpec tags, string letters, string guesses, string labels) => OnARank(() =>
    {
        var spec = new JobSpec { Task = MlTask.Tagging, Module = new ModuleSpec { Text = new TextSpec { OutputSize = letters.Length, Tags = tags } } };
        var lines = guesses.Split(' ').Zip(labels.Split(' ')).SelectMany(row => row.First.Zip(row.Second).Select((token, place) => (float[])
            [.. letters.Select(l => l == token.First ? 0.5f : -1), letters.IndexOf(token.Second, StringComparison.Ordinal), 2, place == 0 ? 1 : 0])).ToList();
        var sums = MetricSums.Of(spec);
        var all = new double[sums.Count];
        sums.Add(tensor(lines.SelectMany(l => l).ToArray(), [lines.Count, letters.Length + 3]), zeros(1), null, all);
        return sums.Values(all);
    });

    // Where denormal numbers are zero.
    private static double[] OnARank(Func<double[]> compute)
    {
        double[] values = [];
        var thread = new Thread(() =>
        {
            Denormals.Flush();
            values = compute();
        });
        thread.Start();
        Assert.IsTrue(thread.Join(TimeSpan.FromSeconds(60)));
        return values;
    }
}
