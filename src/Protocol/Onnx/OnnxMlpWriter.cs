namespace MLDistributed.Protocol.Onnx;

/// <summary>Writes a trained multi-layer perceptron as an ONNX model (opset 20).</summary>
public static class OnnxMlpWriter
{
    /// <summary>Makes the model.</summary>
    /// <param name="spec">The job that trained it: module, task, feature and label scaling.</param>
    /// <param name="tensors">
    /// The parameters by their names in the module: "layers.{i}.weight" (outputs x inputs, row-major), "layers.{i}.bias" for each
    /// linear layer, the output layer last, and for each normalised hidden layer "norms.{i}.weight", "norms.{i}.bias" and,
    /// for batch normalisation, "norms.{i}.running_mean" and "norms.{i}.running_var".
    /// </param>
    public static ModelProto Write(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors) => throw new NotImplementedException();
}
