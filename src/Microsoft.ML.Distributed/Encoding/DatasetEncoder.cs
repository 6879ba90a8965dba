using System.Numerics.Tensors;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What one pass over the data gives. Of a validation set, and of features that are bytes, there are no statistics.</summary>
internal sealed record EncodingResult(EncodedDataset Dataset, IFeatureStatistics Features, LabelStatistics Labels, RowWeights Weights)
{
    /// <summary>Of a ranking.</summary>
    public GroupStatistics? Groups { get; init; }
}

/// <summary>
/// Writes the training columns of a data view to an Arrow IPC file, in one pass and with buffers for one batch: the heap
/// stays as it is however many rows come.
/// </summary>
/// <remarks>As ML.NET's own trainers do, it leaves out rows without a label or a weight, and those that weigh nothing.</remarks>
internal sealed class DatasetEncoder(
    TrainingColumns columns, int featureCount, int classCount, IChannel channel, TimeProvider time, IProgress<TrainingProgress>? progress = null, IReadOnlyList<float>? classWeights = null, FeatureElement element = FeatureElement.Float32)
{
    private static readonly TimeSpan s_logInterval = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_progressInterval = TimeSpan.FromMilliseconds(200);

    /// <summary>Encodes the rows in the cursor's order.</summary>
    /// <param name="data">Data whose columns were checked.</param>
    /// <param name="path">The file to write; it is gone again when this fails.</param>
    /// <param name="isTraining">Whether the data must have two classes and positive weight, as training data.</param>
    /// <param name="cancellation">Stops the encoding between two rows.</param>
    /// <param name="form">Whether rows name their non-zero features alone.</param>
    /// <exception cref="InvalidDataException">A row cannot be trained on; the message names it.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public EncodingResult Encode(IDataView data, string path, bool isTraining, CancellationToken cancellation, FeatureEncoding form = FeatureEncoding.Dense)
    {
        try
        {
            return EncodeTo(data, path, isTraining, form, cancellation);
        }
        catch
        {
            File.Delete(path);
            throw;
        }
    }

    private EncodingResult EncodeTo(IDataView data, string path, bool isTraining, FeatureEncoding form, CancellationToken cancellation)
    {
        var schema = data.Schema;
        var (features, label) = (schema[columns.Features], schema[columns.Label]);
        var weight = columns.Weight is null ? default(DataViewSchema.Column?) : schema[columns.Weight];
        // A cursor that is not told what is needed gives empty values.
        using var cursor = data.GetRowCursor(columns.All.Select(name => schema[name]));
        using var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
        using var batch = new FormWriter(
            element == FeatureElement.UInt8 ? FeatureEncoding.Dense : form,
            sparse => BatchWriter.Create(file, new DatasetShape(featureCount, weight is not null, element, sparse), isTraining),
            featureCount);

        var getFeatures = cursor.GetGetter<VBuffer<float>>(features);
        var getLabel = RowCursorUtils.GetLabelGetter(cursor, label.Index);
        var getWeight = weight is null ? null : cursor.GetGetter<float>(weight.Value);
        var getGroup = columns.Group is null ? null : RowCursorUtils.GetGetterAs<ulong>(NumberDataViewType.UInt64, cursor, schema[columns.Group].Index);
        var groups = columns.Group is null ? null : new GroupStatistics(columns, schema[columns.Group]);
        var labels = new LabelStatistics(columns.Task, columns.Label, classCount);
        var weights = new RowWeights(columns, classWeights ?? []);
        var leftOut = new LeftOut();
        VBuffer<float> row = default;
        var (labelValue, weightValue, group) = (0f, 1f, 1ul);
        var (reported, logged) = (time.GetTimestamp(), time.GetTimestamp());
        for (var index = 0L; cursor.MoveNext(); index++)
        {
            cancellation.ThrowIfCancellationRequested();
            getLabel(ref labelValue);
            getWeight?.Invoke(ref weightValue);
            getGroup?.Invoke(ref group);
            if (leftOut.IsMissing(labelValue, weightValue, group))
                continue;
            labels.Check(labelValue, index);
            var effective = weights.Effective(weightValue, labelValue, index);
            if (leftOut.IsWeightless(effective))
                continue;
            getFeatures(ref row);
            CheckFeatures(in row, features, index);
            labels.Add(labelValue, effective);
            weights.Add(effective);
            if (!batch.Add(in row, groups?.Add(group, labelValue, index) ?? labelValue, weightValue) || time.GetElapsedTime(reported) < s_progressInterval)
                continue;
            reported = time.GetTimestamp();
            Report(index + 1, data.GetRowCount());
            if (time.GetElapsedTime(logged) < s_logInterval)
                continue;
            logged = reported;
            channel.Info(MessageSensitivity.None, $"Encoded {index + 1:N0} rows.");
        }

        cancellation.ThrowIfCancellationRequested();
        var (id, rowCount) = batch.Complete();
        CheckWhole(rowCount, labels, weights, leftOut, isTraining);
        if (isTraining)
            groups?.RequirePairs();
        if (groups is not null && groups.Telling < groups.Count)
            channel.Info(MessageSensitivity.None, $"{groups.Count - groups.Telling:N0} of {groups.Count:N0} groups have rows of one relevance alone, from which no order is learnt.");
        channel.Trace(MessageSensitivity.None, $"Encoded {rowCount:N0} rows of {featureCount:N0} features{(batch.Shape.IsSparse ? $", {batch.NonZeroCount:N0} of them not zero," : "")} as dataset {id}.");
        return new EncodingResult(new EncodedDataset(id, path, rowCount, batch.Shape, batch.NonZeroCount), batch.Statistics!, labels, weights) { Groups = groups };
    }

    private void Report(long rows, long? total) => progress?.Report(new TrainingProgress
    {
        JobId = "",
        State = TrainingState.Encoding,
        Fraction = total > 0 ? Math.Min(1, (double)rows / total.Value) : 0,
        Message = total > 0 ? $"{rows:N0} of {total:N0} rows read" : $"{rows:N0} rows read",
    });

    private void CheckFeatures(in VBuffer<float> row, DataViewSchema.Column column, long index)
    {
        if (row.Length != featureCount)
            throw new InvalidDataException($"Feature column \"{column.Name}\" has {row.Length:N0} slots at row {index:N0}, expected {featureCount:N0}, the size that its type names. Fix the source or drop the row.");
        var values = row.GetValues();
        if (!row.IsDense && !SparseFeatures.AreSlots(row.GetIndices(), featureCount))
            throw new InvalidDataException($"Feature column \"{column.Name}\" has slots at row {index:N0} that do not rise from 0 to below {featureCount:N0}, expected a VBuffer whose indices do. Fix what makes the column.");
        var isByte = element == FeatureElement.UInt8;
        if (isByte ? Bytes.AreAll(values) : !TensorPrimitives.IsInfinityAny(values))
            return;
        var i = 0;
        while (isByte ? Bytes.Is(values[i]) : !float.IsInfinity(values[i]))
            i++;
        var slot = row.IsDense ? i : row.GetIndices()[i];
        throw new InvalidDataException($"Feature column \"{column.Name}\" is {values[i]} in slot {SlotName(column, slot)} at row {index:N0}, expected {(isByte ? "a whole number from 0 to 255" : "a finite number or NaN for a missing one")}. Fix the source or drop the row.");
    }

    private void CheckWhole(long rowCount, LabelStatistics labels, RowWeights weights, LeftOut leftOut, bool isTraining)
    {
        var subject = isTraining ? "Training data" : "Validation set";
        if (rowCount == 0 && leftOut.Total == 0)
            throw new InvalidDataException($"{subject} has no rows, expected at least one. Check the path and the filters of the source.");
        if (rowCount == 0)
            throw new InvalidDataException($"{subject} has no row that counts, expected at least one: of {leftOut.Total:N0} rows, {leftOut.Describe(columns)}. Fix the source of these columns{(leftOut.Weightless > 0 ? " or the weights" : "")}.");
        weights.CheckRange(subject);
        if (isTraining)
            labels.RequireTwoClasses();
        if (leftOut.Missing > 0)
            channel.Warning(MessageSensitivity.None, $"{subject}: {leftOut.Describe(columns)}; left out. {rowCount:N0} rows remain.");
        else if (leftOut.Total > 0)
            channel.Info(MessageSensitivity.None, $"{subject}: {leftOut.Describe(columns)}; left out. {rowCount:N0} rows remain.");
    }

    /// <summary>A slot's number, with its name where it has one.</summary>
    internal static string SlotName(DataViewSchema.Column column, int slot) =>
        column.HasSlotNames() ? $"{slot:N0} (\"{SameMeaning.NameOfSlot(column, slot)}\")" : $"{slot:N0}";

    /// <summary>Counts the rows that are not written, by what they lack.</summary>
    private sealed class LeftOut
    {
        private long _labels;
        private long _weights;
        private long _groups;

        public long Weightless { get; private set; }

        public long Missing => _labels + _weights + _groups;

        public long Total => Missing + Weightless;

        // Keys count from 1; 0 is a missing one.
        public bool IsMissing(float label, float weight, ulong group)
        {
            if (float.IsNaN(label))
                _labels++;
            else if (float.IsNaN(weight))
                _weights++;
            else if (group == 0)
                _groups++;
            else
                return false;
            return true;
        }

        public bool IsWeightless(double effective)
        {
            Weightless += effective == 0 ? 1 : 0;
            return effective == 0;
        }

        public string Describe(TrainingColumns columns) => string.Join(", ", new[]
        {
            (Count: _labels, What: $"have no label in column \"{columns.Label}\""),
            (Count: _weights, What: $"have no weight in column \"{columns.Weight}\""),
            (Count: _groups, What: $"have no group in column \"{columns.Group}\""),
            (Count: Weightless, What: columns.Weight is null ? "are of a class of weight 0" : $"weigh 0 by column \"{columns.Weight}\" or their class"),
        }.Where(c => c.Count > 0).Select(c => $"{c.Count:N0} {c.What}"));
    }
}
