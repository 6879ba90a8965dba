using System.Numerics.Tensors;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>What follows a network's last layer: softmax with a least probability, or value * unit + mean.</summary>
internal sealed record ScoreHead(bool Softmax, float Unit = 1, float Mean = 0, float Least = 0)
{
    /// <summary>That of a task. Of binary classification the score is the logit, and what comes of it the model's own to compute.</summary>
    public static ScoreHead Of(MlTask task, IReadOnlyDictionary<string, float[]> tensors) => task switch
    {
        MlTask.Multiclass or MlTask.Tagging => new ScoreHead(true, Least: tensors.TryGetValue(OnnxMlpWriter.ScoreLeast, out var least) ? least[0] : 0),
        MlTask.Regression when tensors.TryGetValue(OnnxMlpWriter.LabelUnit, out var unit) => new ScoreHead(false, unit[0], tensors[OnnxMlpWriter.LabelMean][0]),
        _ => new ScoreHead(false),
    };

    /// <summary>Makes scores of outputs, in place.</summary>
    public void Finish(Span<float> score)
    {
        if (Softmax)
        {
            // TensorPrimitives.SoftMax does not subtract the maximum: large logits would overflow.
            TensorPrimitives.Subtract(score, TensorPrimitives.Max<float>(score), score);
            TensorPrimitives.Exp(score, score);
            TensorPrimitives.Divide(score, TensorPrimitives.Sum<float>(score), score);
            TensorPrimitives.Max(score, Least, score);
        }
        else if (Unit != 1 || Mean != 0)
        {
            TensorPrimitives.Multiply(score, Unit, score);
            TensorPrimitives.Add(score, Mean, score);
        }
    }
}
