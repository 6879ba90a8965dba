using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Weights;

namespace Training.Tests.Checkpoints;

[TestClass]
public sealed class SafetensorsTests
{
    [TestMethod]
    public void Write_TwoTensors_IsTheFormatByItsDescription()
    {
        using var folder = new TempFolder();
        Write(folder["w"]);
        var bytes = File.ReadAllBytes(folder["w"]);
        var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        Assert.AreEqual(0, length % 8);
        using var header = JsonDocument.Parse(bytes.AsMemory(8, length));
        Assert.AreEqual((byte)'{', bytes[8]);
        Assert.AreEqual("v", header.RootElement.GetProperty("__metadata__").GetProperty("k").GetString());
        var a = header.RootElement.GetProperty("a");
        Assert.AreEqual("F32", a.GetProperty("dtype").GetString());
        Assert.AreEqual("[2,2]", a.GetProperty("shape").GetRawText());
        Assert.AreEqual("[0,16]", a.GetProperty("data_offsets").GetRawText());
        Assert.AreEqual("[16,28]", header.RootElement.GetProperty("b").GetProperty("data_offsets").GetRawText());
        Assert.HasCount(8 + length + 28, bytes);
        Assert.AreEqual(7f, BinaryPrimitives.ReadSingleLittleEndian(bytes.AsSpan(8 + length + 24)));
        Assert.IsFalse(File.Exists(folder["w.part"]));
    }

    [TestMethod]
    public void Read_WhatWasWritten_IsTheSame()
    {
        using var folder = new TempFolder();
        Write(folder["w"]);
        using var reader = new SafetensorsReader(folder["w"]);
        CollectionAssert.AreEqual(new float[] { 1, 2, 3, 4 }, reader.Read("a"));
        CollectionAssert.AreEqual(new long[] { 3 }, reader.Shape("b"));
        var part = new float[2];
        reader.Read("b", 1, part);
        CollectionAssert.AreEqual(new float[] { 6, 7 }, part);
        Assert.ThrowsExactly<FormatException>(() => reader.Read("b", 2, part));
        Assert.ThrowsExactly<FormatException>(() => reader.Read("c"));
    }

    [TestMethod]
    public void Read_AFileMadeByHand_Works()
    {
        using var folder = new TempFolder();
        const string header = """{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""";
        File.WriteAllBytes(folder["w"], [.. BitConverter.GetBytes((ulong)header.Length), .. Encoding.UTF8.GetBytes(header), .. BitConverter.GetBytes(1.5f)]);
        using var reader = new SafetensorsReader(folder["w"]);
        CollectionAssert.AreEqual(new[] { 1.5f }, reader.Read("x"));
    }

    [TestMethod]
    public void Read_CutOffFile_Throws()
    {
        using var folder = new TempFolder();
        Write(folder["w"]);
        var whole = File.ReadAllBytes(folder["w"]);
        for (var length = 0; length < whole.Length; length++)
        {
            File.WriteAllBytes(folder["cut"], whole[..length]);
            Assert.ThrowsExactly<FormatException>(() => new SafetensorsReader(folder["cut"]).Dispose());
        }
    }

    [TestMethod]
    public void Writer_NotCompleted_LeavesTheOldFile()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["w"], "old");
        using (var writer = new SafetensorsWriter(folder["w"], [("a", [2])]))
        {
            writer.Write([1]);
            Assert.ThrowsExactly<InvalidOperationException>(writer.Complete);
        }

        Assert.AreEqual("old", File.ReadAllText(folder["w"]));
        Assert.IsFalse(File.Exists(folder["w.part"]));
    }

    private static void Write(string path)
    {
        using var writer = new SafetensorsWriter(path, [("a", [2, 2]), ("b", [3])], new Dictionary<string, string> { ["k"] = "v" });
        writer.Write([1, 2, 3]);
        writer.Write([4, 5, 6, 7]);
        writer.Complete();
    }
}
