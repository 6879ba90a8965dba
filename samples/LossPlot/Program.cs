using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using ScottPlot;

// 1. The data: 1,797 handwritten digits, a fifth of which the trainer keeps for validation.
var ml = new MLContext(seed: 1);
var digits = ml.Data.LoadFromTextFile<Digit>(Path.Combine(AppContext.BaseDirectory, "digits.csv"), separatorChar: ',');

// 2. Train, and keep the loss of every step.
var curve = new LossCurve();
var trainer = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
{
    FeatureColumnName = nameof(Digit.Pixels),
    Epochs = 25,
    Dropout = 0.2,
    ValidationFraction = 0.2,
    Progress = curve,
});
var model = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Number)).Append(trainer).Fit(digits);
var summary = model.LastTransformer.Model.Summary;

// 3. Plot: the loss as it was optimised, the same smoothed, and the validation loss after each epoch.
var stepsPerEpoch = (double)summary.Steps / summary.Epochs;
var epochs = curve.Steps.Select(step => step / stepsPerEpoch).ToArray();
var validation = summary.History.Select(epoch => epoch.ValidationLoss ?? double.NaN).ToArray();
var best = Array.IndexOf(validation, validation.Min());

var plot = new Plot();
var steps = plot.Add.ScatterLine(epochs, curve.Losses, Color.FromHex("#1f77b4").WithAlpha(0.25));
steps.LegendText = "training, each step";
var smooth = plot.Add.ScatterLine(epochs, Smoothed(curve.Losses), Color.FromHex("#1f77b4"));
(smooth.LegendText, smooth.LineWidth) = ("training, smoothed", 2);
var held = plot.Add.Scatter(Enumerable.Range(1, validation.Length).Select(epoch => (double)epoch).ToArray(), validation, Color.FromHex("#d62728"));
(held.LegendText, held.LineWidth, held.MarkerSize) = ("validation, after each epoch", 2, 6);
var mark = plot.Add.Marker(best + 1, validation[best], MarkerShape.OpenCircle, 16, Color.FromHex("#d62728"));
(mark.LegendText, mark.MarkerLineWidth) = ($"the model's epoch, {best + 1}", 2);

plot.Title($"Digits: validation loss {validation[best]:F3} after {summary.Epochs} epochs");
plot.XLabel("epoch");
plot.YLabel("cross-entropy");
plot.Axes.SetLimits(0, summary.Epochs + 0.5, 0, validation[0] * 2);
plot.Grid.MajorLineColor = Colors.Black.WithAlpha(0.08);
plot.Axes.Top.FrameLineStyle.IsVisible = plot.Axes.Right.FrameLineStyle.IsVisible = false;
plot.ShowLegend(Alignment.UpperRight);
(plot.Legend.OutlineWidth, plot.Legend.ShadowColor) = (0, Colors.Transparent);
plot.ScaleFactor = 2; // sharp on any screen
plot.SavePng("loss.png", 1600, 1000);
Console.WriteLine($"loss.png shows {summary.Steps:N0} steps; the model is that of epoch {best + 1}, validation loss {validation[best]:F4}.");

// An exponential average, which begins at the first value.
static double[] Smoothed(IReadOnlyList<double> losses)
{
    var smooth = losses.ToArray();
    for (var i = 1; i < smooth.Length; i++)
        smooth[i] = (0.9 * smooth[i - 1]) + (0.1 * smooth[i]);
    return smooth;
}

/// <summary>The loss of every step, in order. After a recovery steps come again, with the same losses.</summary>
internal sealed class LossCurve : IProgress<TrainingProgress>
{
    private readonly SortedDictionary<long, double> _losses = [];
    private readonly ConsoleProgress _console = new();

    public IReadOnlyList<long> Steps => [.. _losses.Keys];

    public double[] Losses => [.. _losses.Values];

    public void Report(TrainingProgress value)
    {
        foreach (var (step, loss) in value.RecentLosses)
            _losses[step] = loss;
        _console.Report(value);
    }
}

/// <summary>A row of digits.csv: 8x8 pixels from 0 to 16, then the digit.</summary>
internal sealed class Digit
{
    [LoadColumn(0, 63), VectorType(64)]
    public float[] Pixels { get; set; } = [];

    [LoadColumn(64)]
    public float Number { get; set; }
}
