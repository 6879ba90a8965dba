using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>A trained network and where it comes from: what a model file holds. It is one that can be scored, or there is no such object.</summary>
/// <exception cref="FormatException">The model is not what our writer writes for the job.</exception>
internal sealed class TrainedNetwork(byte[] onnx, JobSpec spec, JobResult result, string jobId)
{
    // What is parsed takes up to four times its bytes; a job of 4,000,000 scaled features has 32 MB.
    private const int MaxPartBytes = 64 << 20;
    private const int MaxIdBytes = 256;

    public byte[] Onnx => onnx;

    public JobSpec Spec => spec;

    public JobResult Result => result;

    public string JobId => jobId;

    public IScorer Scorer { get; } = NetworkScorer.Read(onnx, spec);

    /// <summary>The network, if the worker sent one that our own code writes: a model is a program, and this one comes from another machine.</summary>
    /// <exception cref="ClusterException">It is another.</exception>
    public static TrainedNetwork Accept(byte[] onnx, JobSpec spec, JobResult result, string jobId)
    {
        try
        {
            return new TrainedNetwork(onnx, spec, result, jobId);
        }
        catch (FormatException e)
        {
            throw new ClusterException($"The model that a worker made for job {jobId} is not used: {e.Message}", e) { JobId = jobId };
        }
    }

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

    /// <exception cref="FormatException">The stream is cut short or damaged, or holds another network than its job asked for.</exception>
    public static TrainedNetwork Read(BinaryReader reader)
    {
        var (onnx, spec, result, jobId) = ReadParts(reader);
        try
        {
            return new TrainedNetwork(onnx, spec, result, jobId);
        }
        catch (FormatException e)
        {
            throw new FormatException($"The neural network in the model file cannot be used: {e.Message}", e);
        }
    }

    // A file of a few kilobytes can unpack to gigabytes: each part is bounded by what the one before it says.
    private static (byte[] Onnx, JobSpec Spec, JobResult Result, string JobId) ReadParts(BinaryReader reader)
    {
        try
        {
            var jobId = ReadId(reader);
            var spec = JobSpec.Parser.WithDiscardUnknownFields(true).ParseFrom(ReadBlock(reader, MaxPartBytes));
            var most = JobModel.Bytes(spec).Most;
            var result = JobResultRules.Parse(ReadBlock(reader, MaxPartBytes), spec);
            var onnx = ReadBlock(reader, most);
            if (!reader.ReadBytes(SHA256.HashSizeInBytes).AsSpan().SequenceEqual(SHA256.HashData(onnx)))
                throw new FormatException("its checksum differs");
            return (onnx, spec, result, jobId);
        }
        catch (Exception e) when (e is IOException or FormatException or InvalidProtocolBufferException or ArgumentException)
        {
            throw new FormatException($"The neural network in the model file is damaged ({e.Message}), expected what ml.Model.Save wrote. Copy the file again from its source, or train anew.", e);
        }
    }

    // What BinaryWriter.Write(string) writes.
    private static string ReadId(BinaryReader reader)
    {
        var length = reader.Read7BitEncodedInt();
        return length is >= 0 and <= MaxIdBytes && reader.ReadBytes(length) is var bytes && bytes.Length == length
            ? Encoding.UTF8.GetString(bytes)
            : throw new FormatException($"its job id has {length:N0} bytes, expected at most {MaxIdBytes}");
    }

    private static void WriteBlock(BinaryWriter writer, byte[] bytes)
    {
        writer.Write(bytes.Length);
        writer.Write(bytes);
    }

    private static byte[] ReadBlock(BinaryReader reader, long most)
    {
        // ReadBytes allocates what it is asked for: a damaged length must not become a 2 GB buffer.
        var length = reader.ReadInt32();
        if (length < 0)
            throw new FormatException($"a length is {length}");
        if (length > most)
            throw new FormatException($"a part has {length:N0} bytes, expected at most {most:N0}");
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
