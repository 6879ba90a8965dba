using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// What stands around a network in the transformer that its trainer returns. Fit puts it around the network that it trained; a job
/// keeps it as a file, so that any app makes the same of the job's network. Kinds of frames are found by ML.NET, as kinds of models are.
/// </summary>
internal abstract class ModelFrame : ICanSaveModel
{
    /// <summary>Whether the transformer is made of the columns that the network was trained on, too.</summary>
    public abstract bool NeedsSchema { get; }

    /// <summary>The transformer of a trained network.</summary>
    /// <param name="environment">The transformer's context.</param>
    /// <param name="network">The network.</param>
    /// <param name="schema">The columns that the network was trained on, as <see cref="ModelSchema"/> writes them.</param>
    public abstract ITransformer Make(IHostEnvironment environment, TrainedNetwork network, Google.Protobuf.ByteString schema);

    /// <summary>The frame as a file; null: it is larger than a job may keep.</summary>
    public JobFile? ToFile() => Write(this) is { Length: <= JobSpecRules.MaxModelFrameBytes } bytes ? new JobFile(bytes) : null;

    /// <summary>Reads what <see cref="ToFile"/> wrote.</summary>
    /// <exception cref="FormatException">It is not that, or of a trainer whose package this app does not have.</exception>
    public static ModelFrame Read(IHostEnvironment environment, byte[] bytes)
    {
        try
        {
            return Read<ModelFrame>(environment, bytes);
        }
        catch (Exception e) when (IsUnreadable(e))
        {
            var cause = e is System.Reflection.TargetInvocationException { InnerException: { } inner } ? inner : e;
            throw new FormatException($"what stands around its network cannot be read here ({cause.Message.TrimEnd('.')})", e);
        }
    }

    /// <summary>Whether it is what ML.NET's loaders throw at bytes that are no such model.</summary>
    public static bool IsUnreadable(Exception e) => e is FormatException or InvalidOperationException or ArgumentException or IOException or BadImageFormatException or System.Reflection.TargetInvocationException;

    /// <inheritdoc/>
    public abstract void Save(ModelSaveContext ctx);

    /// <summary>One of ML.NET's models as bytes, without the parts of a file: what is read has no size but its own.</summary>
    internal static byte[] Write(ICanSaveModel model)
    {
        using var stream = new MemoryStream();
        using (var writer = new BinaryWriter(stream, System.Text.Encoding.UTF8, leaveOpen: true))
            ModelSaveContext.Save(writer, model.Save);
        return stream.ToArray();
    }

    /// <summary>Reads one, of this type alone.</summary>
    private protected static T Read<T>(IHostEnvironment environment, byte[] bytes)
        where T : class
    {
        using var reader = new BinaryReader(new MemoryStream(bytes));
        ModelLoadContext.LoadModel<T, SignatureLoadModel>(environment, out var model, reader);
        return model;
    }
}
