using MLDistributed.Worker.Ranks;

namespace Worker.Tests.Ranks;

[TestClass]
public sealed class BoundedLinesTests
{
    [TestMethod]
    public async Task Lines_OfAnyLength_ComeInPiecesThatAreBounded()
    {
        var large = new string('x', 5 * BoundedLines.MaxLength / 2);

        var lines = await ReadAsync($"one\r\n\ntwo\n{large}\nlast");

        CollectionAssert.AreEqual(new[] { "one", "two" }, lines.Take(2).ToArray());
        Assert.AreEqual(large, string.Concat(lines.Skip(2).SkipLast(1)));
        Assert.AreEqual("last", lines[^1]);
        Assert.IsTrue(lines.All(l => l.Length <= BoundedLines.MaxLength));
    }

    [TestMethod]
    public async Task Line_WithoutEnd_IsNotHeld()
    {
        using var endless = new Endless();
        await foreach (var line in BoundedLines.ReadAsync(endless))
        {
            Assert.AreEqual(BoundedLines.MaxLength, line.Length);
            return;
        }
    }

    private static async Task<List<string>> ReadAsync(string text)
    {
        var lines = new List<string>();
        using var reader = new StringReader(text);
        await foreach (var line in BoundedLines.ReadAsync(reader))
            lines.Add(line);
        return lines;
    }

    /// <summary>A program that never ends its line.</summary>
    private sealed class Endless : TextReader
    {
        public override ValueTask<int> ReadAsync(Memory<char> buffer, CancellationToken cancellationToken = default)
        {
            buffer.Span.Fill('x');
            return ValueTask.FromResult(buffer.Length);
        }
    }
}
