namespace MLDistributed.Protocol;

/// <summary>
/// What every process knows of a job's module, whatever it computes: its sizes, the rules of its specification, and how large
/// the model is that comes back. One class a kind, for each case of <see cref="ModuleSpec"/>.
/// </summary>
public interface IModuleKind
{
    /// <summary>Features of a row.</summary>
    int InputSize { get; }

    /// <summary>Features of a row that is scored: without what is there for training alone.</summary>
    int ModelInputSize => InputSize;

    /// <summary>What the features of its data are.</summary>
    FeatureElement Element => FeatureElement.Float32;

    /// <summary>Outputs of a row: classes; 1 for binary classification, regression and ranking; 0: the module tells.</summary>
    int OutputSize { get; }

    /// <summary>Numbers that hold a row's features in a batch.</summary>
    Int128 FeaturesOfRow => InputSize;

    /// <summary>Whether it is known to compute statistics over all rows of a step (batch normalisation), so that these cannot be computed in parts.</summary>
    bool JoinsRows { get; }

    /// <summary>Numbers that its layers hold of a row in a training step, at the least.</summary>
    Int128 ActivationsOfRow { get; }

    /// <summary>All that is wrong with its specification, each a sentence that names the option, its value and what was expected.</summary>
    /// <param name="task">The job's.</param>
    IEnumerable<string> Errors(MlTask task);

    /// <summary>The bytes that its ONNX file can have.</summary>
    /// <param name="spec">The job, of which nothing is believed.</param>
    /// <exception cref="FormatException">No job has such a module.</exception>
    (long Least, long Most) ModelBytes(JobSpec spec);

    /// <summary>Looks whether an ONNX file is one that a job of this kind leaves.</summary>
    /// <param name="onnx">Its bytes, of which nothing is believed.</param>
    /// <param name="spec">The job.</param>
    /// <exception cref="FormatException">It is another; names the node or tensor.</exception>
    void CheckModel(byte[] onnx, JobSpec spec);
}

/// <summary>What a job trains.</summary>
public sealed partial class ModuleSpec
{
    /// <summary>The module's kind; null when there is none, or one that this release does not know.</summary>
    public IModuleKind? Kind => ModuleCase switch
    {
        ModuleOneofCase.Mlp => new MlpKind(Mlp),
        ModuleOneofCase.Torch => new TorchKind(Torch),
        ModuleOneofCase.Text => new TextEncoderKind(Text),
        ModuleOneofCase.Image => new ImageKind(Image),
        _ => null,
    };

    /// <summary>The features of a training row that go in as they are: ids, whose size means nothing, and labels.</summary>
    public IEnumerable<int> UnscaledSlots() => Torch?.UnscaledSlots() ?? Mlp?.UnscaledSlots() ?? [];
}

/// <summary>The model of a job, as far as its specification tells.</summary>
public static class JobModel
{
    /// <summary>The bytes that its ONNX file can have: known before a byte of it is fetched.</summary>
    /// <param name="spec">The job, of which nothing is believed.</param>
    /// <exception cref="FormatException">No job has such a module.</exception>
    public static (long Least, long Most) Bytes(JobSpec spec) => KindOf(spec).ModelBytes(spec);

    /// <summary>Looks whether an ONNX file is one that the job leaves.</summary>
    /// <param name="onnx">Its bytes, of which nothing is believed.</param>
    /// <param name="spec">The job.</param>
    /// <exception cref="FormatException">It is another; names the node or tensor.</exception>
    public static void Check(byte[] onnx, JobSpec spec) => KindOf(spec).CheckModel(onnx, spec);

    private static IModuleKind KindOf(JobSpec spec) =>
        spec?.Module?.Kind ?? throw new FormatException("The job has no network that this release knows. Update the package, or train the model again.");
}
