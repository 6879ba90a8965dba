using System.Numerics;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The options that follow from the number of rows when the user leaves them open.</summary>
internal static class AutomaticOptions
{
    public const int SmallestBatch = 32;
    private const int LargestBatch = 256;
    private const int StepsPerEpoch = 40;
    private const int StepsPerCleanEpoch = 200;
    private const int TinyBatch = 4;
    private const int LeastSteps = 10;
    private const long RowsToValidate = 2_000;
    private const long GroupsToValidate = 200;
    public const int MostLevels = 32;
    public const int MostParts = 16;
    public const int MostSteps = 512;
    public const long RowsToEncodeLevels = RowsToValidate;
    private const int MostCategoryWidth = 50;
    private const int Patience = 10;
    private const double MostValidationRows = 20_000;
    public const double LargestValidationFraction = 0.1;
    private const double ForgettingEpochs = 5;
    private const double CleanForgettingEpochs = 20;
    private const double MostCleanNoise = 0.15;
    private const double SgdWeightDecay = 1e-4;

    /// <summary>Fills in what was left open, once the rows are counted.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="options">The trainer's.</param>
    /// <param name="groups">How many groups a ranking's rows are.</param>
    /// <param name="noise">That of the labels; null: it is not known.</param>
    public static void Complete(JobSpec spec, NeuralNetworkOptions options, long? groups = null, double? noise = null)
    {
        if (options is { ValidationFraction: null, ValidationSet: null } && (groups is null or >= GroupsToValidate || options.EarlyStopping is not null))
            HoldOut(spec, options.EarlyStopping is not null);
        var rows = (long)Math.Ceiling(spec.Data.RowCount * (1 - spec.Data.ValidationFraction));
        var isClean = IsClean(noise, spec.Data.RowCount);
        spec.GlobalBatchSize = options.BatchSize ?? BatchSize(rows, isClean);
        spec.Optimizer.WeightDecay = options.WeightDecay ?? WeightDecay(spec.Optimizer, rows, spec.GlobalBatchSize, isClean);
    }

    /// <summary>Whether rows tell their labels, as print tells its letter: more steps, and weights that forget later, then learn more. Others would learn the noise.</summary>
    internal static bool IsClean(double? noise, long rows) => noise < MostCleanNoise && rows >= RowsToValidate;

    // Networks that pass the point of their least loss are common on data of this size, and a tenth of it is enough to see that.
    private static void HoldOut(JobSpec spec, bool isAskedFor)
    {
        if (spec.Data.RowCount < RowsToValidate && !isAskedFor)
            return;
        spec.Data.ValidationFraction = Math.Min(LargestValidationFraction, MostValidationRows / spec.Data.RowCount);
        spec.EarlyStopping ??= new EarlyStopping { PatienceEpochs = Patience }.ToSpec();
    }

    /// <summary>How many numbers a category of so many keys becomes, and what is missing or unknown: fastai's rule (Howard and Gugger 2020), up to 50.</summary>
    internal static int CategoryWidth(int keys) => (int)Math.Min(MostCategoryWidth, Math.Round(1.6 * Math.Pow(keys + 1, 0.56)));

    /// <summary>Few steps an epoch waste small data, large batches generalise less.</summary>
    internal static int BatchSize(long rows, bool isClean = false) => rows < LeastSteps * SmallestBatch
        ? (int)Math.Clamp(PowerOf2AtMost(rows / LeastSteps), TinyBatch, SmallestBatch)
        : (int)Math.Clamp(PowerOf2AtMost(rows / (isClean ? StepsPerCleanEpoch : StepsPerEpoch)), SmallestBatch, LargestBatch);

    private static ulong PowerOf2AtMost(long value) => BitOperations.RoundUpToPowerOf2((ulong)value + 1) / 2;

    /// <summary>AdamW averages its weights over 1 / (learning rate * weight decay) steps; this holds that to a number of epochs.</summary>
    internal static double WeightDecay(OptimizerSpec optimizer, long rows, int batchSize, bool isClean = false)
    {
        if (optimizer.Adamw is null)
            return optimizer.Adam is null ? SgdWeightDecay : 0;
        var stepsPerEpoch = Math.Max(1, Math.Ceiling((double)rows / batchSize));
        return 1 / (optimizer.LearningRate * (isClean ? CleanForgettingEpochs : ForgettingEpochs) * stepsPerEpoch);
    }
}
