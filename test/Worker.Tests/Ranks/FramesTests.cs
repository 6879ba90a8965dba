using MLDistributed.Protocol;
using MLDistributed.Worker.Ranks;

namespace Worker.Tests.Ranks;

[TestClass]
public sealed class FramesTests
{
    [TestMethod]
    [DataRow(1)]
    [DataRow(7)]
    [DataRow(100_000)]
    public async Task Read_WhatWasWritten_InPiecesOfAnySize(int piece)
    {
        var stream = new MemoryStream();
        var writer = new FrameWriter(stream);
        var messages = new[] { 0, 5, 200, 50_000 }.Select(length => new RankCommand { Stop = new RankStop { AttemptId = "a", Reason = new string('x', length) } }).Append(new RankCommand()).ToList();
        foreach (var message in messages)
            writer.Write(message);

        var reader = new FrameReader(new PiecewiseStream(stream.ToArray(), piece));
        foreach (var message in messages)
            Assert.AreEqual(message, await reader.ReadAsync(RankCommand.Parser, CancellationToken.None));
        Assert.IsNull(await reader.ReadAsync(RankCommand.Parser, CancellationToken.None));
    }

    [TestMethod]
    public async Task Read_AbsurdLength_Throws() =>
        await Assert.ThrowsExactlyAsync<InvalidDataException>(async () => await new FrameReader(new MemoryStream([0xFF, 0xFF, 0xFF, 0xFF, 0x0F])).ReadAsync(RankCommand.Parser, CancellationToken.None));

    private sealed class PiecewiseStream(byte[] content, int piece) : MemoryStream(content)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(piece, buffer.Length)], cancellationToken);
    }
}
