using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

// Ctrl-C cancels the job on the cluster and lets Fit return; a second one ends the program.
using var cancellation = new CancellationTokenSource();
Console.CancelKeyPress += (_, e) => e.Cancel = Cancel(cancellation);

var ml = new MLContext(seed: 1);
var data = ml.Data.LoadFromTextFile<Digit>(Path.Combine(AppContext.BaseDirectory, "digits.csv"), separatorChar: ',');
var split = ml.Data.TrainTestSplit(data, testFraction: 0.2);

var pipeline = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Number))
    .Append(ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
    {
        FeatureColumnName = nameof(Digit.Pixels),
        Epochs = 50,
        Dropout = 0.2,
        LabelSmoothing = 0.1,
        Progress = new ConsoleProgress(),
        CancellationToken = cancellation.Token,
    }))
    .Append(ml.Transforms.Conversion.MapKeyToValue("PredictedLabel"));

ITransformer model;
try
{
    model = pipeline.Fit(split.TrainSet);
}
catch (OperationCanceledException)
{
    Console.WriteLine("Cancelled.");
    return 130;
}

var metrics = ml.MulticlassClassification.Evaluate(model.Transform(split.TestSet));
Console.WriteLine($"On the held-out fifth: micro accuracy {metrics.MicroAccuracy:F4}, macro accuracy {metrics.MacroAccuracy:F4}, log-loss {metrics.LogLoss:F4}");
Console.WriteLine(metrics.ConfusionMatrix.GetFormattedConfusionTable());

ml.Model.Save(model, data.Schema, "model.zip");
var loaded = ml.Model.Load("model.zip", out _);
var digit = ml.Data.CreateEnumerable<Digit>(split.TestSet, reuseRowObject: false).First();
using var engine = ml.Model.CreatePredictionEngine<Digit, Prediction>(loaded);
var prediction = engine.Predict(digit);
Draw(digit.Pixels);
Console.WriteLine($"model.zip, loaded again, says {prediction.PredictedLabel} (p = {prediction.Score.Max():F3}); it is a {digit.Number}.");
return 0;

static bool Cancel(CancellationTokenSource cancellation)
{
    var first = !cancellation.IsCancellationRequested;
    cancellation.Cancel();
    return first;
}

static void Draw(float[] pixels)
{
    const string shades = " .:-=+*#%@";
    foreach (var row in pixels.Chunk(8))
        Console.WriteLine("    " + string.Concat(row.Select(p => new string(shades[(int)(p / 16 * (shades.Length - 1))], 2))));
}

/// <summary>A row of digits.csv: 8x8 pixels from 0 to 16, then the digit.</summary>
internal sealed class Digit
{
    [LoadColumn(0, 63), VectorType(64)]
    public float[] Pixels { get; set; } = [];

    [LoadColumn(64)]
    public float Number { get; set; }
}

internal sealed class Prediction
{
    public float PredictedLabel { get; set; }

    public float[] Score { get; set; } = [];
}
