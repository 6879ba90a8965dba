using System.Security.Cryptography;
using Google.Protobuf;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A trained network and where it comes from: what a model file holds.</summary>
internal sealed record TrainedNetwork(byte[] Onnx, JobSpec Spec, JobResult Result, string JobId)
{
    public void Write(BinaryWriter writer)
    {
        // *** Binary format ***
        // string: job id
        // length-prefixed: JobSpec, JobResult (protobuf), ONNX model
        // 32 bytes: SHA-256 of the ONNX model
        writer.Write(JobId);
        WriteBlock(writer, Spec.ToByteArray());
        WriteBlock(writer, Result.ToByteArray());
        WriteBlock(writer, Onnx);
        writer.Write(SHA256.HashData(Onnx));
    }

    /// <exception cref="FormatException">The stream is cut short or damaged.</exception>
    public static TrainedNetwork Read(BinaryReader reader)
    {
        try
        {
            var jobId = reader.ReadString();
            var spec = JobSpec.Parser.ParseFrom(ReadBlock(reader));
            var result = JobResult.Parser.ParseFrom(ReadBlock(reader));
            var onnx = ReadBlock(reader);
            if (!reader.ReadBytes(SHA256.HashSizeInBytes).AsSpan().SequenceEqual(SHA256.HashData(onnx)))
                throw new FormatException("its checksum differs");
            return new TrainedNetwork(onnx, spec, result, jobId);
        }
        catch (Exception e) when (e is IOException or FormatException or InvalidProtocolBufferException or ArgumentException)
        {
            throw new FormatException($"The neural network in the model file is damaged ({e.Message}), expected what ml.Model.Save wrote. Copy the file again from its source, or train anew.", e);
        }
    }

    private static void WriteBlock(BinaryWriter writer, byte[] bytes)
    {
        writer.Write(bytes.Length);
        writer.Write(bytes);
    }

    private static byte[] ReadBlock(BinaryReader reader)
    {
        // ReadBytes allocates what it is asked for: a damaged length must not become a 2 GB buffer.
        var length = reader.ReadInt32();
        if (length < 0)
            throw new FormatException($"a length is {length}");
        using var block = new MemoryStream();
        while (block.Length < length)
        {
            var piece = reader.ReadBytes((int)Math.Min(length - block.Length, 1 << 20));
            if (piece.Length == 0)
                throw new FormatException($"it ends {length - block.Length:N0} bytes early");
            block.Write(piece);
        }

        return block.ToArray();
    }
}
