using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Tries what a module computes of its training itself, on random rows before the first step, by an instance that is not trained.</summary>
internal static class ModuleTrial
{
    private const int Rows = 6;
    private const int FirstPart = 2;
    private const double Tolerance = 1e-3;

    /// <param name="trial">The instance.</param>
    /// <param name="start">The job.</param>
    /// <param name="rows">Rows that it takes; null: any.</param>
    /// <returns>What its own metrics are called.</returns>
    /// <exception cref="UserModuleException">It throws, or returns what no job can train by.</exception>
    public static IReadOnlyList<string> Run(TorchModuleSource trial, RankStart start, SampleRows? rows = null)
    {
        var contract = new ModuleContract(trial.Module, trial.Row);
        if (contract is { HasLoss: false, HasStep: false, HasMetrics: false })
            return [];
        using var scope = NewDisposeScope();
        var (spec, name) = (start.Spec, ModuleTensors.NameOf(trial.Module));
        var batch = RandomRows(spec, rows ?? SampleRows.Normal, HasWeights(start));
        if (contract.HasStep)
        {
            trial.Module.train();
            trial.Tensors.BatchNorms.ForEach(norm => norm.eval());
            var sum = contract.StepSum(batch, epoch: 0, step: 1);
            if (!double.IsFinite(Losses.Number(sum)))
                throw NotFinite(name, "TrainingStep", sum);
        }

        trial.Module.eval();
        if (contract.HasStep)
            CheckMean(name, batch, b => Losses.Number(contract.StepSum(b, epoch: 0, step: 1)) / b.WeightSum);
        var outputs = trial.Row.CallLabelled(trial.Module, batch.Features);
        if (contract.HasLoss)
        {
            var sum = contract.LossSum(outputs, batch, isTrained: true, step: 0);
            if (!double.IsFinite(Losses.Number(sum)))
                throw NotFinite(name, "Loss", sum);
            Compare(name, "Loss", batch, b => Losses.Number(contract.LossSum(outputs.narrow(0, b.Rows.Start, b.Rows.Count), b, isTrained: false, step: 0)));
        }

        if (!contract.HasMetrics)
            return [];
        using var frozen = no_grad();
        var (labels, weights) = ModuleContract.Shaped(batch.Labels, batch.Weights);
        var names = contract.Metrics(outputs.detach(), labels, weights).Keys.Order(StringComparer.Ordinal).ToArray();
        ModuleMetrics.CheckNames(name, names, spec.Task);
        foreach (var (metric, i) in names.Select((n, i) => (n, i)))
            Compare(name, $"Metric \"{metric}\"", batch, b =>
            {
                var sums = new double[names.Length + 1];
                contract.AddMetrics(names, outputs.narrow(0, b.Rows.Start, b.Rows.Count), b.Labels, b.Weights, sums);
                return sums[i];
            });
        return names;
    }

    // What is added up over ranks must not depend on how rows are split.
    private static void Compare(string module, string what, Batch batch, Func<Batch, double> sum)
    {
        var (all, parts) = (sum(batch), sum(Part(batch, 0, FirstPart)) + sum(Part(batch, FirstPart, Rows - FirstPart)));
        if (Math.Abs(all - parts) <= Tolerance * Math.Max(1e-3, Math.Max(Math.Abs(all), Math.Abs(parts))))
            return;
        throw new UserModuleException($"{what} of module \"{module}\" is {all / batch.WeightSum:G4} over {Rows} random rows, and {parts / batch.WeightSum:G4} as the mean by weights over two parts of them, expected the same: else it would be another on another number of ranks. " +
            $"Return it row by row, or as the mean by weights, (values * weights).sum() / weights.sum(){(batch.Weights is null ? "" : "; the job's rows have weights")}.");
    }

    // A step may draw at random, or compare rows with one another. What it may not be is a sum over them, or a mean that leaves their weights out.
    private static void CheckMean(string module, Batch batch, Func<Batch, double> mean)
    {
        var (first, second) = (Part(batch, 0, FirstPart), Part(batch, FirstPart, Rows - FirstPart));
        var (all, one, two) = (mean(batch), mean(first), mean(second));
        var isSum = Is(one + two);
        if (Is(((one * first.WeightSum) + (two * second.WeightSum)) / batch.WeightSum) || !(isSum || Is(((one * FirstPart) + (two * (Rows - FirstPart))) / Rows)))
            return;
        throw new UserModuleException($"Module \"{module}\" returned {all:G4} from its TrainingStep for {Rows} random rows, and {one:G4} and {two:G4} for two parts of them, {(isSum ? "their sum" : "their mean without the weights that the job's rows have")}, expected the mean by weights: (losses * weights).sum() / weights.sum(), or the loss of each row.");

        bool Is(double value) => Math.Abs(value - all) <= Tolerance * Math.Max(1e-3, Math.Abs(all));
    }

    private static Batch Part(Batch batch, int start, int count)
    {
        var weights = batch.Weights?.narrow(0, start, count);
        return new Batch(batch.Features.narrow(0, start, count), batch.Labels.narrow(0, start, count), weights, weights?.sum().ToSingle() ?? count, Rows, new(start, count));
    }

    // As those of the job, where its own are not at hand yet: a loss may take a logarithm of values that are not scaled.
    private static Batch RandomRows(JobSpec spec, SampleRows rows, bool hasWeights)
    {
        var labels = spec.Task switch
        {
            MlTask.Multiclass => arange(Rows, ScalarType.Int64).remainder(spec.Module.Kind!.OutputSize),
            MlTask.Binary => arange(Rows, ScalarType.Float32).remainder(2),
            _ when spec.Data?.Label is null => arange(1, Rows + 1, ScalarType.Float32),
            _ => randn(Rows),
        };
        var weights = hasWeights ? arange(1, Rows + 1, ScalarType.Float32).div(Rows / 2) : null;
        return new Batch(rows.Make(Rows, spec.Module.Kind!.InputSize), labels, weights, weights?.sum().ToSingle() ?? Rows, Rows, new(0, Rows));
    }

    private static bool HasWeights(RankStart start)
    {
        if (start.Spec.ClassWeights.Count > 0 || start.DatasetPath.Length == 0)
            return start.Spec.ClassWeights.Count > 0;
        using var training = new DatasetFile(start.DatasetPath);
        if (training.HasWeights || start.ValidationDatasetPath.Length == 0)
            return training.HasWeights;
        using var validation = new DatasetFile(start.ValidationDatasetPath);
        return validation.HasWeights;
    }

    private static UserModuleException NotFinite(string module, string member, Tensor sum) =>
        new($"Module \"{module}\" returned a loss of {Losses.Number(sum)} from its {member} on random rows, expected a finite number. Look for logarithms, roots and quotients of what may be 0 or negative.");
}
