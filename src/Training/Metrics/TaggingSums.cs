using MLDistributed.Protocol;
using static TorchSharp.torch;

namespace MLDistributed.Training.Metrics;

/// <summary>
/// Accuracy of tagged tokens, and F1: of whole entities, which count where both ends and the kind are right (as CoNLL's evaluation of
/// BIO labels), or, where classes are not those of entities, the mean of the F1 of each class that there is.
/// </summary>
internal sealed class TaggingSums(TextSpec text) : MetricSums
{
    /// <summary>Columns behind the logits.</summary>
    public const int Besides = 3;

    private readonly int _classes = text.OutputSize;
    private readonly int[] _entity = [.. text.Tags.Entity];
    private readonly bool[] _begins = [.. text.Tags.Begins];

    // All and right tokens; then what was right, what was said and what is, of entities or of each class.
    public override int Count => 2 + (3 * Kinds);

    private int Kinds => _entity.Length > 0 ? 1 : _classes;

    /// <param name="outputs">[labelled tokens, classes + <see cref="Besides"/>], which is all that is needed: the logits, and behind them the label's class, what the token counts, and whether it is its row's first.</param>
    /// <param name="labels">Of rows.</param>
    /// <param name="weights">Of rows.</param>
    /// <param name="sums"><see cref="Count"/> of them.</param>
    public override void Add(Tensor outputs, Tensor labels, Tensor? weights, Span<double> sums)
    {
        var tokens = Elements<float>(outputs);
        var size = _classes + Besides;
        var right = sums.Slice(2, Kinds);
        var said = sums.Slice(2 + Kinds, Kinds);
        var actual = sums.Slice(2 + (2 * Kinds), Kinds);
        var spans = new Spans(this, right, said, actual);
        for (var at = 0; at < tokens.Length; at += size)
        {
            var token = tokens.Slice(at, size);
            var (guess, label, weight) = (IndexOfMax(token[.._classes]), (int)token[_classes], (double)token[_classes + 1]);
            sums[0] += weight;
            sums[1] += guess == label ? weight : 0;
            if (_entity.Length > 0)
            {
                spans.Next(guess, label, isFirst: token[_classes + 2] > 0, weight);
                continue;
            }

            right[label] += guess == label ? weight : 0;
            said[guess] += weight;
            actual[label] += weight;
        }

        spans.End();
    }

    protected override double[] Compute(ReadOnlySpan<double> sums)
    {
        var (f1, present) = (0.0, 0);
        for (var kind = 0; kind < Kinds; kind++)
        {
            var both = sums[2 + Kinds + kind] + sums[2 + (2 * Kinds) + kind];
            if (both == 0)
                continue;
            f1 += 2 * sums[2 + kind] / both;
            present++;
        }

        return [sums[1] / sums[0], f1 / present];
    }

    /// <summary>The entities that are said and those that are, token by token.</summary>
    private ref struct Spans(TaggingSums parent, Span<double> right, Span<double> said, Span<double> actual)
    {
        private readonly Span<double> _right = right, _said = said, _actual = actual;
        private int _guessed, _labelled;
        private bool _startTogether;
        private double _weight;

        public void Next(int guess, int label, bool isFirst, double weight)
        {
            var (guessGoesOn, labelGoesOn) = (GoesOn(_guessed, guess, isFirst), GoesOn(_labelled, label, isFirst));
            Close(guessGoesOn, labelGoesOn);
            _startTogether = guessGoesOn || labelGoesOn ? _startTogether && guessGoesOn && labelGoesOn : true;
            (_guessed, _labelled, _weight) = (parent._entity[guess], parent._entity[label], weight);
        }

        public void End()
        {
            Close(false, false);
            (_guessed, _labelled) = (0, 0);
        }

        // One that goes on without having begun begins there.
        private readonly bool GoesOn(int entity, int next, bool isFirst) => !isFirst && entity > 0 && parent._entity[next] == entity && !parent._begins[next];

        private readonly void Close(bool guessGoesOn, bool labelGoesOn)
        {
            var (guessEnds, labelEnds) = (_guessed > 0 && !guessGoesOn, _labelled > 0 && !labelGoesOn);
            _said[0] += guessEnds ? _weight : 0;
            _actual[0] += labelEnds ? _weight : 0;
            _right[0] += guessEnds && labelEnds && _startTogether && _guessed == _labelled ? _weight : 0;
        }
    }
}
