using Microsoft.Extensions.ObjectPool;
using Microsoft.ML;
using Microsoft.ML.Data;

namespace WebApi;

/// <summary>
/// The latest model, for any number of requests at once. A PredictionEngine serves one at a time and is costly to make, so
/// that a pool lends them; a new model comes with a new pool, and requests in flight end with the old one.
/// </summary>
internal sealed class DigitModel(MLContext ml)
{
    private volatile ObjectPool<PredictionEngine<Digit, Prediction>>? _engines;

    public void Publish(ITransformer model) => _engines = new DefaultObjectPool<PredictionEngine<Digit, Prediction>>(new Engines(ml, model));

    /// <returns>Null while there is no model yet.</returns>
    public Prediction? Predict(float[] pixels)
    {
        if (_engines is not { } engines)
            return null;
        var engine = engines.Get();
        try
        {
            return engine.Predict(new Digit { Pixels = pixels });
        }
        finally
        {
            engines.Return(engine);
        }
    }

    private sealed class Engines(MLContext ml, ITransformer model) : PooledObjectPolicy<PredictionEngine<Digit, Prediction>>
    {
        public override PredictionEngine<Digit, Prediction> Create() => ml.Model.CreatePredictionEngine<Digit, Prediction>(model);

        public override bool Return(PredictionEngine<Digit, Prediction> obj) => true;
    }
}

/// <summary>A row of digits.csv: 8x8 pixels from 0 to 16, then the digit.</summary>
internal sealed class Digit
{
    public const int PixelCount = 64;

    [LoadColumn(0, PixelCount - 1), VectorType(PixelCount)]
    public float[] Pixels { get; set; } = [];

    [LoadColumn(PixelCount)]
    public float Number { get; set; }
}

internal sealed class Prediction
{
    public float PredictedLabel { get; set; }

    public float[] Score { get; set; } = [];
}
