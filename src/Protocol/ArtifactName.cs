namespace MLDistributed.Protocol;

/// <summary>The names under which a job's result lists its files.</summary>
public static class ArtifactName
{
    /// <summary>The trained model as an ONNX file.</summary>
    public const string Onnx = "model.onnx";

    /// <summary>The trained parameters in the safetensors format.</summary>
    public const string Weights = "weights.safetensors";
}
